"""From Python: plans to go on from, and frontiers."""

from __future__ import annotations

from pathlib import Path

import pytest

import memplan
from memplan.ir.errors import PlanRejectedError, RequestError
from memplan.ir.graph import OpGraph
from tests.support.hand_graphs import chain


@pytest.fixture
def graph() -> OpGraph:
    return chain(6, 1024)


def test_a_plan_to_go_on_from_is_a_plan_or_its_file(graph: OpGraph, tmp_path: Path) -> None:
    first = memplan.plan(
        graph, budget="1MB", update="full", time_limit=2.0, deterministic=True, workers=1
    )
    assert first.plan is not None
    file = tmp_path / "plan.json"
    file.write_text(first.plan.to_json())
    for start in (first.plan, file, str(file)):
        less = memplan.plan(
            graph,
            budget=first.plan.totals.arena_bytes * 9 // 10,
            update="full",
            time_limit=2.0,
            deterministic=True,
            workers=1,
            start=start,
        )
        assert less.plan is not None
        assert memplan.verify(graph, less.plan).accepted
    with pytest.raises(PlanRejectedError, match="another graph"):
        memplan.plan(chain(5, 1024), budget="1MB", update="full", start=file)


def test_a_frontier(graph: OpGraph) -> None:
    found = memplan.frontier(
        graph,
        budgets=["1KB", "24KB", 1 << 20],
        update="full",
        time_limit=2.0,
        deterministic=True,
        workers=1,
    )
    assert [point.budget_bytes for point in found.points] == [1024, 24_576, 1 << 20]
    assert [point.answer.plan is None for point in found.points] == [True, False, False]
    assert all(memplan.verify(graph, plan).accepted for plan in found.plans)


def test_what_is_asked_of_a_graph_must_agree_with_it(graph: OpGraph) -> None:
    with pytest.raises(RequestError, match="contradicts the graph"):
        memplan.frontier(graph, budgets=3, optimizer="adam")
    with pytest.raises(RequestError, match="bytes"):
        memplan.frontier(graph, budgets=["many"])
