"""The solver against the exact optimum of random tiny graphs.

The oracle enumerates order, recomputation, alternatives, in-place, addresses, micro-batch and mask
without any of the solver's code.
"""

from __future__ import annotations

import pytest

from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver import solve
from tests.support.brute_force import Best, brute_force, smallest_arena
from tests.support.random_graphs import random_graph, random_request

GRAPHS_PER_TEST = 10


def _key(answer: Answer) -> tuple[int, int, int] | None:
    if answer.plan is None:
        return None
    totals = answer.plan.totals
    return (-totals.importance, totals.time_ns, totals.arena_bytes)


def _best_key(best: Best | None) -> tuple[int, int, int] | None:
    return None if best is None else (-best.importance, best.time_ns, best.arena_bytes)


def is_optimal(graph: OpGraph, request: PlanRequest, least: int) -> bool:
    """Assert what must hold of every answer; return whether it is the optimum."""
    best = _best_key(brute_force(graph, request))
    answer = solve(graph, request)
    found = _key(answer)
    assert answer.lower_bound_bytes <= least, "a proven bound above a plan that exists"
    if found is not None:
        assert best is not None and found >= best, "better than the optimum: one of them is wrong"
    if answer.plan is not None and answer.plan.certificate.lower_bound_time_ns is not None:
        assert best is not None and found is not None
        assert found[0] == best[0], "a bound on time, but not of the most importance"
        assert answer.plan.certificate.lower_bound_time_ns <= best[1], "a bound above the optimum"
    if answer.status == "optimal":
        assert found == best, "claimed optimal, and is not"
    if answer.status == "infeasible":
        assert best is None, "claimed infeasible, and is not"
    return found == best


@pytest.mark.parametrize("block", range(21))
def test_optimum_of_random_graphs(block: int) -> None:
    missed = []
    for seed in range(block * GRAPHS_PER_TEST, (block + 1) * GRAPHS_PER_TEST):
        graph = random_graph(seed)
        request = random_request(seed, graph)
        least = smallest_arena(graph, request)
        roomy = brute_force(graph, request)
        assert least is not None and roomy is not None
        # From the least budget that can be had to the one at which nothing is short.
        budget = least + (roomy.arena_bytes - least) * (seed % 3) // 3
        tight = request.model_copy(
            update={"budget_bytes": max(1, budget), "time_limit_seconds": 2.0, "workers": 1}
        )
        if not is_optimal(graph, tight, least):
            missed.append(seed)
    # Optimality is a matter of time on a loaded machine; what is claimed is asserted above.
    assert len(missed) <= 1, f"the optimum was missed on graphs {missed}"


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_nothing_below_the_least_arena(seed: int) -> None:
    graph = random_graph(seed)
    request = random_request(seed, graph)
    least = smallest_arena(graph, request)
    assert least is not None
    below = request.model_copy(
        update={"budget_bytes": max(1, least - 1), "time_limit_seconds": 0.5, "workers": 1}
    )
    answer = solve(graph, below)
    assert answer.plan is None
    assert answer.status in ("infeasible", "undecided")
