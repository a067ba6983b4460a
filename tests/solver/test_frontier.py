from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memplan.ir.check.frontier import frontier_faults
from memplan.ir.errors import MemplanError, RequestError
from memplan.ir.frontier import Frontier, FrontierPoint
from memplan.solver import FrontierProgress, Techniques, frontier, solve
from tests.solver.problems import request, worth_of
from tests.support.brute_force import brute_force, smallest_arena
from tests.support.hand_graphs import chain, two_layers
from tests.support.random_graphs import random_graph, random_request

Worth = tuple[int, int, int]
#: The models take longest, and are not what these tests are about.
QUICK = Techniques.without("joint_model")


def worths(found: Frontier) -> list[tuple[int, Worth | None]]:
    return [
        (point.budget_bytes, None if point.answer.plan is None else worth_of(point.answer))
        for point in found.points
    ]


def is_monotone(found: Frontier) -> bool:
    """Tell whether no point is worse than one of a smaller budget."""
    known = [worth for _, worth in worths(found)]
    there = [worth for worth in known if worth is not None]
    return known == [None] * (len(known) - len(there)) + sorted(there, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_every_budget_has_its_own_optimum(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True)
    least, roomy = smallest_arena(graph, asked), brute_force(graph, asked)
    assert least is not None and roomy is not None
    chance = Random(seed)
    budgets = {max(1, least - 1), least, roomy.arena_bytes, 2 * roomy.arena_bytes}
    budgets |= {chance.randint(least, roomy.arena_bytes + 1) for _ in range(2)}
    asked = asked.model_copy(
        update={"time_limit_seconds": 8.0, "workers": 1, "deterministic": True}
    )
    found = frontier(graph, asked, sorted(budgets))
    missed = 0
    for point in found.points:
        best = brute_force(graph, point.request)
        plan = point.answer.plan
        assert point.answer.lower_bound_bytes <= least
        if point.answer.status == "infeasible":
            assert best is None
        if plan is None:
            assert best is None or point.answer.status == "undecided"
            missed += best is not None
            continue
        assert best is not None and worth_of(point.answer) >= best.key
        missed += worth_of(point.answer) > best.key
        if point.answer.status == "optimal":
            assert worth_of(point.answer) == best.key
        assert plan.request == point.request
    assert missed == 0


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 2**32 - 1),
    st.sets(
        st.sampled_from(["greedy", "annealing", "joint_model", "retention_bound", "hasten"]),
        max_size=3,
    ),
    st.integers(2, 5),
)
def test_more_bytes_never_cost_more(seed: int, off: set[str], count: int) -> None:
    graph = random_graph(seed)
    asked = random_request(seed, graph).model_copy(
        update={"time_limit_seconds": 1.0, "workers": 1, "deterministic": True}
    )
    found = frontier(graph, asked, count, techniques=Techniques.without(*sorted(off)))
    assert 1 <= len(found.points) <= count
    assert found.points[-1].answer.plan is not None
    assert is_monotone(found)


def test_budgets_that_are_counted_reach_from_the_smallest_to_the_fastest() -> None:
    graph = chain(5)
    asked = request(graph, update="full", time_limit_seconds=3.0, deterministic=True)
    found = frontier(graph, asked, 5, techniques=QUICK)
    assert len(found.points) == 5
    first, last = found.points[0].answer.plan, found.points[-1].answer.plan
    assert first is not None and last is not None
    assert first.totals.recomputed_operations and not last.totals.recomputed_operations
    assert last.totals.arena_bytes == found.points[-1].budget_bytes
    fastest = solve(graph, asked).plan
    assert fastest is not None and fastest.totals.time_ns == last.totals.time_ns


def test_what_does_not_fit_is_said() -> None:
    graph = two_layers()
    asked = request(graph, update="full", time_limit_seconds=4.0, deterministic=True)
    found = frontier(graph, asked, [1, 2, 1 << 20], techniques=QUICK)
    assert [point.answer.status for point in found.points[:2]] == ["infeasible"] * 2
    assert found.points[0].answer.explanation is not None
    assert found.points[2].answer.plan is not None


def test_a_plan_that_is_passed_on_has_the_certificate_of_its_own_budget() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=8.0, deterministic=True)
    roomy = solve(graph, asked).plan
    assert roomy is not None
    arena = roomy.totals.arena_bytes
    found = frontier(graph, asked, [arena, arena + 1, 2 * arena], techniques=QUICK)
    hashes = [plan.certificate.request_hash for plan in found.plans]
    assert hashes == [point.request.content_hash() for point in found.points]
    assert len({plan.totals.time_ns for plan in found.plans}) == 1


def test_a_stop_returns_what_there_is() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=3.0)
    found = frontier(graph, asked, [600, 1 << 20], stop=lambda: True)
    assert is_monotone(found)


def test_progress_counts_searches() -> None:
    graph = chain(3)
    asked = request(graph, update="full", time_limit_seconds=3.0, deterministic=True)
    told: list[FrontierProgress] = []
    frontier(graph, asked, [400, 1 << 20], progress=told.append, techniques=QUICK)
    assert [each.done for each in told] == sorted(each.done for each in told)
    assert all(each.done < each.most for each in told)
    assert {each.budget_bytes for each in told} == {400, 1 << 20}


@pytest.mark.parametrize("budgets", [0, 2_000, [], [0], [-5, 7], [1 << 60]])
def test_budgets_that_are_none(budgets: int | list[int]) -> None:
    graph = chain(2)
    with pytest.raises(RequestError, match="budget"):
        frontier(graph, request(graph, update="full"), budgets)


def test_the_checker_sees_a_frontier_that_falls() -> None:
    graph = chain(4)
    asked = request(graph, update="full", time_limit_seconds=3.0, deterministic=True)
    roomy = solve(graph, asked)
    assert roomy.plan is not None
    arena = roomy.plan.totals.arena_bytes
    budgets = [arena * 7 // 10, arena, 2 * arena]
    found = frontier(graph, asked, budgets, techniques=QUICK)
    assert frontier_faults(graph, found) == []
    low, middle, high = found.points
    assert low.answer.plan is not None and worth_of(low.answer) > worth_of(high.answer)
    falling = FrontierPoint(request=high.request, answer=low.answer)
    swapped = _with_points(found, low, middle, falling)
    assert "worse plan" in frontier_faults(graph, swapped)[0]
    nothing = high.answer.model_copy(update={"plan": None, "status": "undecided"})
    emptied = _with_points(found, low, middle, FrontierPoint(request=high.request, answer=nothing))
    assert "have no plan" in frontier_faults(graph, emptied)[0]
    assert "another graph" in frontier_faults(two_layers(), found)[0]
    other = high.request.model_copy(update={"seed": 7})
    mixed = _with_points(found, low, middle, FrontierPoint(request=other, answer=high.answer))
    assert "more than the budget" in frontier_faults(graph, mixed)[0]


def test_budgets_of_a_document_ascend() -> None:
    graph = chain(3)
    asked = request(graph, update="full", time_limit_seconds=3.0, deterministic=True)
    found = frontier(graph, asked, [400, 1 << 20])
    again = Frontier.from_json(found.to_json())
    assert worths(again) == worths(found)
    turned = found.model_copy(update={"points": found.points[::-1]})
    with pytest.raises(MemplanError, match="ascend"):
        Frontier.from_json(turned.to_json())


def _with_points(found: Frontier, *points: FrontierPoint) -> Frontier:
    return found.model_copy(update={"points": points})
