from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplan.clients.cli import main
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from tests.support.hand_graphs import two_layers
from tests.support.naive_plan import naive_plan


@pytest.fixture
def plan_file(graph: OpGraph, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(naive_plan(graph, PlanRequest(budget_bytes=10**6, batch=2)).to_json())
    return path


def test_a_right_plan_is_accepted(
    graph_file: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(graph_file), str(plan_file)]) == 0
    assert capsys.readouterr().out.startswith("accepted: ")


def test_an_edited_plan_is_rejected_with_its_rule(
    graph_file: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads(plan_file.read_text())
    plan["totals"]["macs"] += 1
    plan_file.write_text(json.dumps(plan))
    assert main(["verify", str(graph_file), str(plan_file)]) == 1
    out = capsys.readouterr().out
    assert "[totals]" in out and "another graph" not in out
    assert main(["verify", str(graph_file), str(plan_file), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["accepted"] is False
    assert report["verdicts"][0]["rule"] == "totals"


def test_a_plan_of_another_graph_is_called_so(
    graph: OpGraph, graph_file: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = naive_plan(two_layers(), PlanRequest(budget_bytes=10**6, batch=2))
    assert other.certificate.graph_hash != graph.content_hash()
    plan_file.write_text(other.to_json())
    assert main(["verify", str(graph_file), str(plan_file)]) == 1
    assert "made for another graph" in capsys.readouterr().out


def test_files_in_the_wrong_order(
    graph_file: Path, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(plan_file), str(graph_file)]) == 3
    assert "plan.json" in capsys.readouterr().err


def test_a_truncated_plan(graph_file: Path, plan_file: Path) -> None:
    plan_file.write_text(plan_file.read_text()[:1000])
    assert main(["verify", str(graph_file), str(plan_file)]) == 3
