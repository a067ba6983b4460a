"""Programs of rows as data: windows, order, and every way in which a file's can be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memplan.ir.errors import GraphError
from memplan.ir.graph import OpGraph
from memplan.ir.row_strips import RowWindow, StripEntry, read_program, row_order
from tests.support.hand_graphs import chain

Json = dict[str, Any]


def entry(
    *sources: int, window: tuple[int, ...] = (1, 1, 0, 1), height: int = 4, place: Any = (0, 3)
) -> list[Any]:
    arguments = [{"local": source} for source in sources] or [{"operand": 0}]
    return ["aten.relu.default", arguments, [], window, [2, height, 5], {"dtype": "int8"}, place]


def test_rows_of_a_window() -> None:
    assert list(RowWindow().rows(3)) == [3]
    assert list(RowWindow(3, 2, 1).rows(0)) == [-1, 0, 1]
    assert list(RowWindow(3, 2, 1).rows(4)) == [7, 8, 9]
    assert list(RowWindow(2, 1, 3, 4).rows(1)) == [-2, 2]


def test_order_is_that_of_need() -> None:
    program: list[Any] = [
        ["memplan.a", (), (), (1, 1, 0, 1), (1, 5, 1), None, (0, 3)],
        ["memplan.b", ({"unused": 0},), (), (3, 2, 1, 1), (1, 2, 1), None, None],
    ]
    entries = read_program(program)
    assert row_order(entries) == [(1, 0), (1, 1)]
    graph = graph_with([entry(height=4), entry(0, window=(3, 2, 1, 1), height=4, place=None)])
    way = graph.operation["c"].alternatives[1]
    # Row 2 of the last entry would need row 5; there are four.
    assert row_order(read_program(way.arguments)) == [
        (0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)
    ]  # fmt: skip


def test_an_entry_is_written_as_it_is_read() -> None:
    graph = graph_with([entry(), entry(0, place=None)])
    for argument in graph.operation["c"].alternatives[1].arguments:
        assert StripEntry.of(argument).as_argument() == argument
    assert OpGraph.from_json(graph.to_json()) == graph


def graph_with(program: Any, workspace: int = 30, **changes: Any) -> OpGraph:
    """Return a graph whose operation ``c`` has a program; int8, (samples, 2, 4, 5)."""
    loaded: Json = json.loads(chain().to_json())
    shape = {"shape": [{"fixed": 0, "per_sample": 1}, 2, 4, 5], "strides": [40, 20, 5, 1]}
    size = {"dtype": "int8", "size_bytes": {"fixed": 0, "per_sample": 40}}
    tensors = [
        {"id": "x", "role": "input", **shape, **size},
        {"id": "y", "role": "activation", **shape, **size},
    ]
    plain = {"name": "plain", "target": "aten.relu.default", "reads": [{"tensor": "x"}]}
    rows = {
        "name": "rows", "target": "memplan.row_strips", "reads": [{"tensor": "x"}],
        "arguments": program, "workspace_bytes": workspace, **changes,
    }  # fmt: skip
    loaded.update(
        mode="infer", loss=None, optimizer=None, tensors=tensors, layers=[], outputs=["y"],
        operations=[
            {"id": "c", "phase": "forward", "writes": ["y"], "alternatives": [plain, rows]}
        ],
    )  # fmt: skip
    return OpGraph.from_json(json.dumps(loaded))


def changed(index: int, position: int, value: Any) -> list[Any]:
    program = [entry(), entry(0, place=None)]
    program[index][position] = value
    return program


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ([], "1 to 100 entries"),
        ([entry(), *[entry(0)] * 100, entry(0, place=None)], "1 to 100 entries"),
        (["aten.relu.default"], "an entry is"),
        ([entry()[:6]], "an entry is"),
        (changed(0, 0, 3), "begins with a target"),
        (changed(0, 1, "x"), "begins with a target"),
        (changed(0, 2, [["name"]]), "pairs of name and value"),
        (changed(0, 3, [1, 1, 0]), "window must be 4 numbers"),
        (changed(0, 3, [1, 1, -1, 1]), "window must be 4 numbers"),
        (changed(0, 3, [1, 0, 0, 1]), "size below 1"),
        (changed(0, 4, [2, 0, 5]), "size below 1"),
        (changed(0, 4, [2, True, 5]), "shape must be 3 numbers"),
        (changed(0, 4, [2, 2**60, 5]), "shape must be 3 numbers"),
        (changed(0, 5, "int8"), "element type"),
        (changed(0, 5, {"dtype": "bit"}), "element type"),
        (changed(0, 6, [0, 0]), "at least one row"),
        (changed(0, 6, [0]), "place must be 2 numbers"),
        (changed(0, 6, [1, 3]), "behind its 30 bytes"),
        (changed(0, 6, [0, 4]), "behind its 30 bytes"),
        (changed(1, 6, [0, 3]), "the last entry's place is the output"),
        (changed(1, 4, [2, 5, 5]), "not of the shape and type of y"),
        (changed(1, 5, {"dtype": "uint8"}), "not of the shape and type of y"),
        (changed(1, 1, [{"local": 1}]), "not before it"),
        (changed(0, 1, [[{"local": 0}]]), "not before it"),
        (changed(0, 1, [{"operand": 1}]), "operand 1 of 1"),
        (changed(0, 0, "memplan.row_strips"), "program of its own"),
        ([entry(place=(0, 1)), entry(0, place=(4, 1)), entry(1, place=None)], "rings overlap"),
    ],
)
def test_malformed_programs_are_refused(program: Any, problem: str) -> None:
    graph_with([entry(), entry(0, place=None)])
    with pytest.raises(GraphError, match=problem):
        graph_with(program)


def test_programs_stand_by_themselves() -> None:
    good = [entry(), entry(0, place=None)]
    with pytest.raises(GraphError, match="no keywords"):
        graph_with(good, keywords={"a": 1})
    with pytest.raises(GraphError, match=r"only a memplan\.row_strips program"):
        graph_with(good, target="memplan.elementwise")
    with pytest.raises(GraphError, match="behind its 29 bytes"):
        graph_with(good, workspace=29)
