"""``plan --start``: from a stored plan, which may be a stranger's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplan.clients.cli import main
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from tests.support.hand_graphs import chain

SEARCH = ["--update", "full", "--deterministic", "--time-limit", "4", "--workers", "1"]


@pytest.fixture
def plan_file(graph_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    assert main([str(graph_file), "--budget", "1MB", *SEARCH, "-o", str(path)]) == 0
    return path


def test_a_plan_for_fewer_bytes(
    graph: OpGraph, graph_file: Path, plan_file: Path, tmp_path: Path
) -> None:
    stored = Plan.from_json(plan_file.read_text())
    budget = stored.totals.arena_bytes * 9 // 10
    smaller = tmp_path / "smaller.json"
    arguments = [str(graph_file), "--budget", str(budget), *SEARCH, "-o", str(smaller)]
    assert main([*arguments, "--start", str(plan_file)]) == 0
    plan = Plan.from_json(smaller.read_text())
    assert plan.totals.arena_bytes <= budget < stored.totals.arena_bytes
    assert plan.request.budget_bytes == budget
    assert main(["verify", str(graph_file), str(smaller)]) == 0


def test_a_plan_that_is_believed(
    graph_file: Path, plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "again.json"
    arguments = [str(graph_file), "--budget", "1MB", *SEARCH, "-o", str(path)]
    assert main([*arguments, "--start", str(plan_file), "--believe-start"]) == 0
    before, after = (
        {level.name: level.bound for level in Plan.from_json(file.read_text()).certificate.levels}
        for file in (plan_file, path)
    )
    assert all((after[name] or 0) >= (before[name] or 0) for name in ("time_ns", "arena_bytes"))
    capsys.readouterr()
    assert main([*arguments, "--believe-start"]) == 2
    assert "there is no --start" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("missing", 3, "check the path"),
        ("graph", 3, "is it the right file?"),
        ("other", 3, "a plan of another graph"),
        ("moved", 3, "rejected"),
        ("deep", 3, "start.json"),
        ("masked", 2, "does not allow"),
    ],
)
def test_stored_plans_that_are_none(
    name: str,
    code: int,
    words: str,
    graph_file: Path,
    plan_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = tmp_path / "start.json"
    update = "full"
    if name == "graph":
        start.write_text(graph_file.read_text())
    elif name == "other":
        graph_file.write_text(chain(5, 1024).to_json())
        start.write_text(plan_file.read_text())
    elif name == "moved":
        document = json.loads(plan_file.read_text())
        document["buffers"][0]["size_bytes"] += 1
        start.write_text(json.dumps(document))
    elif name == "deep":
        start.write_text("[" * 100_000)
    elif name == "masked":
        start.write_text(plan_file.read_text())
        update = str(tmp_path / "mask.json")
        (tmp_path / "mask.json").write_text('[{"layer": "stem", "bias": true}]')
    capsys.readouterr()
    arguments = [str(graph_file), "--budget", "1MB", "--update", update, *SEARCH[2:]]
    assert main([*arguments, "--start", str(start)]) == code
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""
    assert captured.err.strip().splitlines()[-1].startswith("error: ")
