"""A frontier that is not the one that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from memplan.ir.check.frontier import require_frontier, strange_points
from memplan.ir.errors import PlanRejectedError
from memplan.ir.frontier import Frontier
from memplan.ir.request import PlanRequest
from tests.support.answers import naive_frontier
from tests.support.hand_graphs import chain

GRAPH = chain()
REQUEST = PlanRequest(budget_bytes=1, batch=2)
BUDGETS = (2 * 10**6, 10**6)


def frontier(**changes: Any) -> Frontier:
    """Return a frontier of a request with these changes."""
    return naive_frontier(GRAPH, REQUEST.model_copy(update=changes), BUDGETS)


def test_the_one_that_was_asked_for() -> None:
    require_frontier(GRAPH, frontier(), REQUEST, BUDGETS)
    require_frontier(GRAPH, frontier(), REQUEST.model_copy(update={"budget_bytes": 77}), 2)
    require_frontier(GRAPH, frontier(), REQUEST, 3)  # fewer budgets may be all there are


@pytest.mark.parametrize(
    ("changes", "budgets", "words"),
    [
        ({}, (10**6,), "other budgets"),
        ({}, (10**6, 2 * 10**6, 3 * 10**6), "other budgets"),
        ({}, 1, "has 2 budgets"),
        ({"seed": 1}, BUDGETS, "another request"),
        ({"compute_limit": 0.0}, BUDGETS, "another request"),
    ],
)
def test_others_are_rejected(
    changes: dict[str, Any], budgets: int | tuple[int, ...], words: str
) -> None:
    found = frontier(**changes)
    require_frontier(GRAPH, found)  # in itself it is right
    with pytest.raises(PlanRejectedError, match=words):
        require_frontier(GRAPH, found, REQUEST, budgets)


def test_no_point_has_more_time_than_all_together() -> None:
    brief = REQUEST.model_copy(update={"time_limit_seconds": 0.5})
    assert "more time" in strange_points(frontier(), brief, BUDGETS)[0]
