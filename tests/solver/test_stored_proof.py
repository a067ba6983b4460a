"""Bounds of a stored plan's certificate, for who believes it: where they hold, and where not."""

from __future__ import annotations

from typing import Any

import pytest

from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import solve
from memplan.solver.restrictions import BELIEVED, on_computations
from memplan.solver.stored_proof import stored_proof
from tests.solver.problems import request, worth_of
from tests.support.brute_force import brute_force, smallest_arena
from tests.support.hand_graphs import chain
from tests.support.random_graphs import random_graph, random_request

SEARCH = {"time_limit_seconds": 3.0, "workers": 1, "deterministic": True}


def _with(asked: PlanRequest, **changes: Any) -> PlanRequest:
    return asked.model_copy(update=changes)


def _solved(budget_bytes: int | None = None) -> Plan:
    graph = chain(4)
    asked = _with(request(graph, update="full"), **SEARCH)
    roomy = solve(graph, asked).plan
    assert roomy is not None
    plan = solve(graph, _with(asked, budget_bytes=budget_bytes or roomy.totals.arena_bytes)).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize("seed", range(8))
def test_no_plan_of_fewer_bytes_is_better_than_a_stored_proof(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = _with(random_request(seed, graph, tiny=True), **SEARCH)
    least, roomy = smallest_arena(graph, asked), brute_force(graph, asked)
    assert least is not None and roomy is not None
    for budget in {roomy.arena_bytes, (least + roomy.arena_bytes) // 2}:
        plan = solve(graph, _with(asked, budget_bytes=budget)).plan
        if plan is None:
            continue
        for smaller in {budget, (least + budget) // 2, least}:
            less = _with(asked, budget_bytes=smaller)
            proof, best = stored_proof(plan, less), brute_force(graph, less)
            if proof is not None and best is not None:
                importance, time_ns, arena_bytes = (-best.key[0], *best.key[1:])
                assert proof.importance is None or importance <= proof.importance
                if importance == proof.importance and proof.time_ns is not None:
                    assert time_ns >= proof.time_ns
                    if time_ns == proof.time_ns:
                        assert arena_bytes >= (proof.arena_bytes or 0)
            warm = solve(graph, less, start=plan, believe_start=True)
            if warm.status == "optimal":
                assert best is not None and worth_of(warm) == best.key


def test_more_bytes_or_another_request_prove_nothing() -> None:
    plan = _solved()
    asked = plan.request
    assert stored_proof(plan, asked) is not None
    assert stored_proof(plan, _with(asked, budget_bytes=asked.budget_bytes - 1)) is not None
    assert stored_proof(plan, _with(asked, seed=7, time_limit_seconds=99.0, workers=3)) is not None
    for changes in (
        {"budget_bytes": asked.budget_bytes + 1},
        {"compute_limit": None},
        {"computations": 2},
        {"alignment_bytes": 64},
        {"stream_inputs": True},
        {"update": "last-layer"},
    ):
        assert stored_proof(plan, _with(asked, **changes)) is None, changes


def test_what_holds_along_a_line_is_left_where_it_is() -> None:
    plan = _solved()

    def restricted(*restrictions: str, least_ns: int | None = None) -> Plan:
        changes = {"restrictions": restrictions, "lower_bound_time_ns": least_ns}
        certificate = plan.certificate.model_copy(update=changes)
        return plan.model_copy(update={"certificate": certificate})

    of_models = on_computations(plan.request)
    for kept in ((), (of_models,)):
        proof = stored_proof(restricted(*kept), plan.request)
        assert proof is not None and proof.restrictions == [*kept, BELIEVED]
    for left in (("in this order",), (of_models, "in this order"), (BELIEVED,)):
        assert stored_proof(restricted(*left), plan.request) is None
        # What is proved of every order holds all the same.
        proof = stored_proof(restricted(*left, least_ns=7), plan.request)
        assert proof is not None
        assert (proof.time_ns, proof.arena_bytes, proof.restrictions) == (7, None, [BELIEVED])


def test_exact_models_say_what_they_suppose_in_these_words() -> None:
    graph = random_graph(0, tiny=True)
    asked = _with(random_request(0, graph, tiny=True), **SEARCH)
    best = brute_force(graph, asked)
    assert best is not None
    answers = [solve(graph, _with(asked, budget_bytes=size)) for size in (best.arena_bytes, 10**6)]
    said = {text for a in answers if a.plan for text in a.plan.certificate.restrictions}
    assert said <= {on_computations(asked)}


def test_a_believed_bound_is_listed_and_not_passed_on() -> None:
    graph = chain(4)
    plan = _solved()
    without = plan.certificate.model_copy(update={"restrictions": ()})
    stored = plan.model_copy(update={"certificate": without})
    less = _with(plan.request, budget_bytes=plan.request.budget_bytes - 1)
    bound = {level.name: level.bound for level in without.levels}["time_ns"]
    answer = solve(graph, less, start=stored, believe_start=True)
    assert answer.plan is not None
    levels = {level.name: level.bound for level in answer.plan.certificate.levels}
    if bound is not None:
        assert (levels["time_ns"] or 0) >= bound
    if BELIEVED in answer.plan.certificate.restrictions:
        assert stored_proof(answer.plan, less) is None
