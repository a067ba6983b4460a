"""The pebble game as a bound on bytes, and where it is none."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, solve
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.instance import Instance
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.pebble_bound import least_bytes, pebbled
from tests.solver.problems import instance_of, line, request, skip
from tests.support.brute_force import smallest_arena
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph

FOREVER = 1e6


def raised(instance: Instance) -> int:
    """Return the bound, which is no lower than the one that it was made from."""
    before = lower_bound(instance)
    after = pebbled(instance, before, FOREVER).bytes
    assert after >= before.bytes
    return after


def least_of_micro_batches(graph: OpGraph, asked: PlanRequest) -> int:
    return min(
        raised(build_instance(graph, asked, samples))
        for samples in allowed_micro_batches(graph, asked)
    )


def least_of(problem: Problem) -> int:
    """Return the least of the sums of live bytes over all orders, step by step from the front."""
    readers: dict[int, list[int]] = {}
    for operation, inputs in enumerate(problem.inputs):
        for read in inputs:
            readers.setdefault(read, []).append(operation)
    once = frozenset(o for o, forward in enumerate(problem.forward) if not forward)
    last = frozenset(o for o in range(len(problem.costs)) if o not in readers)
    wanted = once | last
    start = (frozenset[int](), frozenset[int]())
    reached, waiting = {start: 0}, [start]
    while waiting:
        waiting.sort(key=lambda state: -reached[state])
        there, ran = state = waiting.pop()
        if wanted <= ran:
            return reached[state]
        following = [((there - {item}, ran), 0) for item in there]
        for operation, inputs in enumerate(problem.inputs):
            if set(inputs) <= there and not (operation in wanted and operation in ran):
                during = sum(problem.sizes_bytes[i] for i in there | {operation})
                now = ran | {operation} if operation in wanted else ran
                following.append(((there | {operation}, now), during))
        for new, during in following:
            peak = max(reached[state], during)
            if peak < reached.get(new, 1 << 62):
                reached[new] = peak
                waiting.append(new)
    raise AssertionError("no way to the end")


@pytest.mark.parametrize("problem", [chain(8, 1), *(layered(9, seed) for seed in range(6))])
def test_it_is_the_least_of_all_orders(problem: Problem) -> None:
    graph = as_graph(problem)
    least = least_of(problem)
    assert raised(instance_of(graph, update="auto", computations=None)) == least
    below = solve(graph, as_request(least - 1, 5.0, workers=1))
    assert below.status == "infeasible" and below.lower_bound_bytes == least
    at = solve(graph, as_request(least, 5.0, workers=1))
    assert at.plan is not None and at.plan.totals.arena_bytes == least


def test_it_proves_what_a_look_back_does_not() -> None:
    problem = layered(20, 62)
    asked = as_request(problem.plain_peak_bytes // 2, 5.0, workers=1)
    answer = solve(as_graph(problem), asked)
    assert answer.status == "infeasible" and answer.lower_bound_bytes == 3392
    assert answer.explanation is not None
    assert sum(size for _, size in answer.explanation.tensors) == 3392
    instance = instance_of(as_graph(problem), update="auto", computations=None)
    without = Techniques.without("pebbling")
    assert least_bytes(instance, FOREVER, without).bytes == lower_bound(instance).bytes == 3008


@pytest.mark.parametrize("seed", range(12))
def test_no_plan_is_smaller(seed: int) -> None:
    graph = random_graph(seed, "train", tiny=True)
    asked = request(graph, computations=2)
    smallest = smallest_arena(graph, asked)
    assert smallest is None or least_of_micro_batches(graph, asked) <= smallest


@pytest.mark.parametrize("alignment", [1, 64])
def test_what_is_on_top_is_not_padded(alignment: int) -> None:
    graph = skip()
    asked = request(graph, alignment_bytes=alignment)
    smallest = smallest_arena(graph, asked)
    assert smallest is not None
    assert least_of_micro_batches(graph, asked) <= smallest


@pytest.mark.parametrize(
    ("graph", "changes"),
    [
        (two_layers(), {"update": "auto"}),  # the mask is open
        (line(40, 40, 16, in_place=True), {}),  # bytes are shared
    ],
)
def test_it_is_left_out_where_a_plan_may_do_otherwise(
    graph: OpGraph, changes: dict[str, Any]
) -> None:
    instance = instance_of(graph, **changes)
    bound = lower_bound(instance)
    assert pebbled(instance, bound, FOREVER) is bound


def test_without_time_nothing_is_raised() -> None:
    instance = instance_of(as_graph(layered(20, 62)), update="auto", computations=None)
    bound = lower_bound(instance)
    assert pebbled(instance, bound, 0.0) is bound


def test_the_game_may_compute_more_often_than_the_request_allows() -> None:
    graph = random_graph(16678, "infer", tiny=True)
    asked = request(graph, computations=2, alignment_bytes=64)
    instance = build_instance(graph, asked, 1)
    bound = lower_bound(instance)
    better = pebbled(instance, bound, FOREVER)
    assert better.bytes > bound.bytes and better.tensors == bound.tensors
    smallest = smallest_arena(graph, asked)
    assert smallest is None or better.bytes <= smallest
