from __future__ import annotations

from io import BytesIO, TextIOWrapper
from xml.etree import ElementTree

import pytest
from rich.console import Console

from memplan.clients.report.frontier import frontier_report, summarize_frontier
from memplan.clients.report.frontier_svg import _byte_ticks, _ticks, frontier_svg
from memplan.ir.answer import Answer, Explanation
from memplan.ir.frontier import Frontier, FrontierPoint
from memplan.ir.graph import OpGraph
from tests.solver.problems import request
from tests.support.answers import found
from tests.support.hand_graphs import chain

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph() -> OpGraph:
    return chain(6, 1024)


@pytest.fixture
def drawn(graph: OpGraph) -> Frontier:
    """Return a frontier of which the smallest budget has no plan."""
    points = []
    for budget in (2048, 1 << 20, 1 << 21):
        asked = request(graph, budget, update="full")
        if budget == 2048:
            answer = Answer(
                status="infeasible",
                plan=None,
                lower_bound_bytes=4096,
                smallest_found_bytes=None,
                baseline_bytes=9000,
                explanation=Explanation(reason="too small"),
            )
        else:
            answer = found(graph, asked)
        points.append(FrontierPoint(request=asked, answer=answer))
    return Frontier(graph_hash=graph.content_hash(), points=tuple(points), solve_seconds=1.5)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [80, 120])
def test_the_table(graph: OpGraph, drawn: Frontier, width: int, encoding: str) -> None:
    stream = BytesIO()
    file = TextIOWrapper(stream, encoding, errors="replace", write_through=True)
    console = Console(file=file, width=width)
    console.print(frontier_report(graph, drawn, console))
    lines = stream.getvalue().decode(encoding).splitlines()
    rows = [line for line in lines if "MB " in line or "KB " in line]
    assert len(rows) == 3
    assert "infeasible" in rows[0]
    bars = "█" if encoding == "utf-8" else "#"
    assert (bars in rows[1]) == (width == 120)
    assert all(len(line) <= width for line in lines)


def test_json(graph: OpGraph, drawn: Frontier) -> None:
    summary = summarize_frontier(graph, drawn)
    assert [point["fits"] for point in summary["points"]] == [False, True, True]
    assert {frozenset(point) for point in summary["points"]} == {frozenset(summary["points"][0])}


def test_the_picture(graph: OpGraph, drawn: Frontier) -> None:
    hostile = graph.model_copy(update={"name": "</title><script>alert(1)</script>"})
    picture = ElementTree.fromstring(frontier_svg(hostile, drawn))
    assert not picture.findall(f".//{SVG}script")
    title = picture.find(f"{SVG}title")
    assert title is not None and title.text is not None and "<script>" in title.text
    classes = [circle.get("class") for circle in picture.findall(f".//{SVG}circle")]
    assert classes.count("point") == 2 and classes.count("none") == 1
    curves = [path for path in picture.findall(f".//{SVG}path") if path.get("class") == "curve"]
    assert len(curves) == 1  # importance is the same everywhere
    impossible = [
        rect for rect in picture.findall(f".//{SVG}rect") if rect.get("class") == "impossible"
    ]
    assert len(impossible) == 1 and float(impossible[0].get("width", "0")) > 0


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (4, [0, 1, 2, 3, 4]),
        (9, [0, 5, 10]),
        (2_190, [0, 1_000, 2_000, 3_000]),
        (10**9, [0, 5 * 10**8, 10**9]),
    ],
)
def test_ticks_are_round_and_reach_over_the_highest(highest: int, ticks: list[int]) -> None:
    assert _ticks(highest) == ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 1]),
        (3, 11, [4, 6, 8, 10]),
        (0, 4096, [0, 1024, 2048, 3072, 4096]),
        (100_000, 262_144, [131_072, 163_840, 196_608, 229_376, 262_144]),
        (9 * 1024**2, 61 * 1024**2, [16 * 1024**2, 32 * 1024**2, 48 * 1024**2]),
    ],
)
def test_sizes_on_the_axis_are_round(low: int, high: int, ticks: list[int]) -> None:
    assert _byte_ticks(low, high) == ticks
