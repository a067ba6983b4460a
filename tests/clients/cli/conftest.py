"""A graph file, and a solver that answers at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from memplan.clients import pipeline
from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from tests.support.answers import found
from tests.support.hand_graphs import chain


@pytest.fixture
def graph() -> OpGraph:
    return chain(6, 1024)


@pytest.fixture
def graph_file(graph: OpGraph, tmp_path: Path) -> Path:
    path = tmp_path / "graph.json"
    path.write_text(graph.to_json())
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PlanRequest]:
    """Let the naive planner answer; return the requests that it is asked."""
    requests: list[PlanRequest] = []

    def solve(
        graph: OpGraph,
        request: PlanRequest,
        *rest: object,
    ) -> Answer:
        requests.append(request)
        return found(graph, request)

    monkeypatch.setattr(pipeline, "solve", solve)
    return requests
