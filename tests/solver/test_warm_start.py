from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memplan.ir.check import check
from memplan.ir.errors import PlanRejectedError, RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, go_on, search, solve
from tests.solver.problems import request, worth_of
from tests.support.brute_force import brute_force, smallest_arena
from tests.support.hand_graphs import chain, two_layers
from tests.support.random_graphs import random_graph, random_request


def stored(graph: OpGraph, asked: PlanRequest, **options: Any) -> Plan:
    answer = solve(graph, asked, **options)
    assert answer.plan is not None
    return answer.plan


def _with(asked: PlanRequest, budget_bytes: int) -> PlanRequest:
    return asked.model_copy(update={"budget_bytes": budget_bytes})


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.8, 0.95, 1.0, 1.1]),
    st.sampled_from(["joint_model", "annealing", "greedy", "micro_batch_bounds"]),
)
def test_never_worse_than_a_stored_plan_that_fits(seed: int, part: float, without: str) -> None:
    graph = random_graph(seed)
    asked = random_request(seed, graph).model_copy(
        update={"time_limit_seconds": 0.3, "workers": 1, "deterministic": True}
    )
    techniques = Techniques.without(without)
    roomy = stored(graph, asked, techniques=techniques)
    plan = solve(
        graph, _with(asked, max(1, roomy.totals.arena_bytes * 9 // 10)), techniques=techniques
    ).plan
    for start in (roomy, plan):
        if start is None:
            continue
        budget = max(1, int(part * start.totals.arena_bytes))
        answer = solve(graph, _with(asked, budget), start=start, techniques=techniques)
        assert answer.status != "infeasible" or answer.lower_bound_bytes > budget
        if answer.plan is not None:
            assert check(graph, answer.plan).accepted
            assert answer.plan.request == _with(asked, budget)
            assert answer.plan.totals.arena_bytes <= budget
        if start.totals.arena_bytes <= budget:
            totals = start.totals
            assert worth_of(answer) <= (-totals.importance, totals.time_ns, totals.arena_bytes)


@pytest.mark.parametrize("seed", range(6))
def test_what_it_claims_holds(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(
        update={"time_limit_seconds": 3.0, "workers": 1, "deterministic": True}
    )
    least, roomy = smallest_arena(graph, asked), brute_force(graph, asked)
    assert least is not None and roomy is not None
    for first, then in ((roomy.arena_bytes, least), (least, roomy.arena_bytes)):
        cold = solve(graph, _with(asked, first))
        if cold.plan is None:
            continue
        warm = solve(graph, _with(asked, then), start=cold.plan)
        best = brute_force(graph, _with(asked, then))
        assert best is not None and warm.lower_bound_bytes <= least
        if warm.plan is not None:
            assert worth_of(warm) >= best.key
        if warm.status == "optimal":
            assert worth_of(warm) == best.key


def test_a_smaller_budget_is_repaired_by_recomputation() -> None:
    graph = chain(6)
    asked = request(graph, update="full", time_limit_seconds=8.0, deterministic=True)
    techniques = Techniques.without("joint_model")
    roomy = stored(graph, asked, techniques=techniques)
    assert not roomy.totals.recomputed_operations
    tight = _with(asked, roomy.totals.arena_bytes * 3 // 4)
    warm = stored(graph, tight, start=roomy, techniques=techniques)
    cold = stored(graph, tight, techniques=techniques)
    assert warm.totals.recomputed_operations
    assert warm.totals.time_ns <= cold.totals.time_ns


def test_a_smaller_budget_is_repaired_by_updating_less() -> None:
    graph = two_layers()
    asked = request(
        graph,
        update="auto",
        micro_batch=4,
        compute_limit=0.0,
        time_limit_seconds=4.0,
        deterministic=True,
    )
    techniques = Techniques.without("joint_model")
    roomy = stored(graph, asked, techniques=techniques)
    tight = _with(asked, roomy.totals.arena_bytes * 7 // 10)
    warm = stored(graph, tight, start=roomy, techniques=techniques)
    assert 0 < warm.totals.importance < roomy.totals.importance
    assert warm.totals.arena_bytes <= tight.budget_bytes


def test_where_repair_loses_much_the_search_goes_on_as_from_nothing() -> None:
    graph = two_layers()
    asked = request(
        graph, update="auto", compute_limit=0.0, time_limit_seconds=4.0, deterministic=True
    )
    techniques = Techniques.without("joint_model", "mask_tree")
    roomy = stored(graph, asked, techniques=techniques)
    tight = _with(asked, roomy.totals.arena_bytes * 7 // 10)
    warm = stored(graph, tight, start=roomy, techniques=techniques)
    # In micro-batches everything fits, which is too far away to be looked at.
    assert warm.micro_batch < roomy.micro_batch
    assert warm.totals.importance == roomy.totals.importance


def test_the_masks_of_every_micro_batch_are_looked_at_before_what_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = two_layers()
    asked = request(
        graph, update="auto", compute_limit=0.0, time_limit_seconds=4.0, deterministic=True
    )
    techniques = Techniques.without("joint_model")
    roomy = stored(graph, asked, techniques=techniques)
    tight = _with(asked, roomy.totals.arena_bytes * 7 // 10)
    monkeypatch.setattr(search, "try_heuristics", None)  # what a search from nothing calls
    warm = stored(graph, tight, start=roomy, techniques=techniques)
    assert warm.micro_batch < roomy.micro_batch
    level = warm.certificate.levels[0]
    assert (level.name, level.gap) == ("importance", 0)


@pytest.mark.parametrize("update", ["auto", "full"])
def test_where_nothing_near_fits_it_looks_afresh_and_ends(
    monkeypatch: pytest.MonkeyPatch, update: str
) -> None:
    graph = two_layers() if update == "auto" else chain(6)
    asked = request(graph, update=update, time_limit_seconds=20.0, deterministic=True)
    techniques = Techniques.without("joint_model", "mask_tree", "line_model")
    roomy = stored(graph, asked, techniques=techniques)
    tight = _with(asked, roomy.totals.arena_bytes * 8 // 10)
    monkeypatch.setattr(go_on, "look_near", lambda *_: None)
    monkeypatch.setattr(search, "hasten_poor", None)  # what a search from nothing calls
    warm = stored(graph, tight, start=roomy, techniques=techniques)
    assert warm.totals.arena_bytes <= tight.budget_bytes
    assert check(graph, warm).accepted


def test_what_a_stored_plan_claims_is_not_believed() -> None:
    graph = chain(5)
    asked = request(graph, update="full", time_limit_seconds=3.0, deterministic=True)
    techniques = Techniques.without("joint_model", "retention_bound")
    roomy = stored(graph, asked, techniques=techniques)
    tight = _with(asked, roomy.totals.arena_bytes * 3 // 4)
    plan = stored(graph, tight, techniques=techniques)
    certificate = plan.certificate
    assert certificate.status == "feasible"
    claimed = tuple(
        level.model_copy(update={"bound": level.value, "gap": 0.0}) for level in certificate.levels
    )
    boasting = plan.model_copy(
        update={
            "certificate": certificate.model_copy(
                update={"status": "optimal", "levels": claimed, "restrictions": ()}
            )
        }
    )
    assert check(graph, boasting).accepted  # a plan does not show that a bound is proven
    answer = solve(graph, tight, start=boasting, techniques=techniques)
    assert answer.status == "feasible"


def test_plans_of_other_graphs_and_wrong_plans_are_refused() -> None:
    graph = chain(3)
    asked = request(graph, update="full", deterministic=True)
    plan = stored(graph, asked)
    with pytest.raises(PlanRejectedError, match="start: this is a plan of another graph"):
        solve(chain(4), request(chain(4), update="full"), start=plan)
    first = plan.buffers[0]
    moved = (first.model_copy(update={"offset": first.offset + 16}), *plan.buffers[1:])
    broken = plan.model_copy(update={"buffers": moved})
    with pytest.raises(PlanRejectedError, match="start: plan for chain"):
        solve(graph, asked, start=broken)
    without = plan.model_copy(update={"body": plan.body[1:]})
    with pytest.raises(PlanRejectedError, match="start: plan for chain"):
        solve(graph, asked, start=without)


def test_micro_batches_that_the_request_does_not_allow() -> None:
    graph = chain(2)
    asked = request(graph, update="full", batch=4, micro_batch=4, deterministic=True)
    plan = stored(graph, asked)
    with pytest.raises(RequestError, match="micro-batches of 4"):
        solve(graph, asked.model_copy(update={"micro_batch": 2}), start=plan)


def test_another_micro_batch_is_taken_where_it_is_better() -> None:
    graph = chain(3, per_sample=256)
    asked = request(graph, update="full", batch=4, time_limit_seconds=5.0, deterministic=True)
    techniques = Techniques.without("joint_model")
    small = stored(graph, asked.model_copy(update={"micro_batch": 2}), techniques=techniques)
    assert small.trips == 2
    answer = solve(graph, asked, start=small, techniques=techniques)
    assert answer.plan is not None
    assert answer.plan.totals.time_ns < small.totals.time_ns


def test_a_stop_returns_the_stored_plan() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=600.0)
    plan = stored(
        graph, asked.model_copy(update={"time_limit_seconds": 1.0, "deterministic": True})
    )
    answer = solve(graph, asked, start=plan, stop=lambda: True)
    assert answer.plan is not None
    assert answer.plan.totals.time_ns <= plan.totals.time_ns
