"""An answer that contradicts its plan, the question or itself is refused, whoever gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memplan.ir.answer import Answer, Explanation
from memplan.ir.check.answer import answer_faults, require_answer
from memplan.ir.device import Device, Rates, Region
from memplan.ir.errors import PlanRejectedError
from memplan.ir.request import PlanRequest
from tests.support.hand_graphs import chain
from tests.support.naive_plan import naive_plan

GRAPH = chain()
PLAN = naive_plan(GRAPH, PlanRequest(budget_bytes=2**20, batch=4), micro_batch=2)


def with_plan(**changes: Any) -> Answer:
    values: dict[str, Any] = {
        "status": "feasible",
        "plan": PLAN,
        "lower_bound_bytes": 0,
        "smallest_found_bytes": PLAN.totals.arena_bytes,
        "baseline_bytes": PLAN.totals.baseline_bytes,
    }
    return Answer(**(values | changes))


def without(**changes: Any) -> Answer:
    values: dict[str, Any] = {
        "status": "undecided",
        "plan": None,
        "lower_bound_bytes": 100,
        "smallest_found_bytes": 300,
        "baseline_bytes": 1000,
        "explanation": Explanation(reason="time"),
    }
    return Answer(**(values | changes))


def test_honest_answers_are_accepted() -> None:
    require_answer(GRAPH, PLAN.request, with_plan())
    tight = PLAN.request.model_copy(update={"budget_bytes": 200})
    require_answer(GRAPH, tight, without())
    require_answer(GRAPH, tight, without(smallest_found_bytes=None))
    require_answer(
        GRAPH,
        tight,
        without(status="infeasible", lower_bound_bytes=201, smallest_found_bytes=None),
    )


@pytest.mark.parametrize(
    ("make", "budget_bytes", "changes", "fault"),
    [
        # A wrong status.
        (with_plan, None, {"status": "optimal"}, "the answer is optimal, its plan feasible"),
        (with_plan, None, {"status": "infeasible"}, "the answer is infeasible, its plan feasible"),
        (without, 200, {"status": "feasible"}, "the answer is feasible, and has no plan"),
        (without, 200, {"status": "optimal"}, "the answer is optimal, and has no plan"),
        (without, 200, {"status": "infeasible"}, "said to be infeasible in 200 bytes, but 100 is"),
        (without, 99, {}, "said to be undecided, but 100 of 99 bytes"),
        (without, 300, {}, "said to be undecided, but a plan of 300 bytes was found"),
        (without, 200, {"explanation": None}, "does not say why"),
        # A bound above the value.
        (without, 200, {"lower_bound_bytes": 301}, "301 bytes are said to be needed, and 300"),
        (
            with_plan,
            None,
            {"lower_bound_bytes": PLAN.totals.arena_bytes + 1},
            f"{PLAN.totals.arena_bytes + 1} bytes are said to be needed, and",
        ),
        (with_plan, None, {"lower_bound_bytes": 8}, "the answer's bound is 8 bytes, that of its"),
        # What contradicts the plan.
        (with_plan, None, {"baseline_bytes": 7}, "the answer's baseline is 7 bytes"),
        (with_plan, None, {"smallest_found_bytes": None}, "the smallest plan found has None"),
        (with_plan, 2**21, {}, "the plan is of another request"),
    ],
)
def test_contradictions_are_refused(
    make: Callable[..., Answer], budget_bytes: int | None, changes: dict[str, Any], fault: str
) -> None:
    request = PLAN.request
    if budget_bytes is not None:
        request = request.model_copy(update={"budget_bytes": budget_bytes})
    with pytest.raises(PlanRejectedError, match=fault):
        require_answer(GRAPH, request, make(**changes))


def test_the_plan_is_replayed_too() -> None:
    totals = PLAN.totals.model_copy(update={"macs": 1})
    with pytest.raises(PlanRejectedError, match="totals"):
        require_answer(
            GRAPH, PLAN.request, with_plan(plan=PLAN.model_copy(update={"totals": totals}))
        )


def test_frozen_weights_in_ram_may_be_what_does_not_fit() -> None:
    device = Device(
        name="phone",
        regions=(Region(name="ram", kind="ram", size_bytes=1 << 20),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        weights="ram",
    )
    request = PLAN.request.model_copy(update={"device": device, "budget_bytes": 120})
    said = without(status="infeasible", lower_bound_bytes=119, smallest_found_bytes=None)
    assert answer_faults(GRAPH, request, said) == []
    roomy = request.model_copy(update={"budget_bytes": 2**20})
    assert answer_faults(GRAPH, roomy, said) != []
