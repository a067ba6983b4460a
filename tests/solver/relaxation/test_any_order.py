from __future__ import annotations

import heapq
import random

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.relaxation.any_order import Moments, MomentsProgram
from memplan.solver.relaxation.any_order_bound import AnyOrderBound
from memplan.solver.schedule import Table
from memplan.solver.time_bound import time_lower_bound, with_outside
from tests.support.brute_force import brute_force
from tests.support.random_graphs import random_graph, random_request


def random_order_problem(seed: int) -> Problem:
    """A few operations with several orders; some of the forward pass may not run again."""
    chance = random.Random(seed)
    forward = chance.randint(3, 4)
    count = forward + chance.randint(3, 4)
    inputs: list[tuple[int, ...]] = []
    for operation in range(count):
        is_behind = operation >= forward
        earlier = range(0 if is_behind else max(0, operation - 3), operation)
        wanted = chance.choice((1, 1, 2, 2, 3) if is_behind else (1, 1, 2))
        reads = set(chance.sample(earlier, min(len(earlier), wanted)))
        if is_behind and chance.random() < 0.8:
            reads.add(chance.randint(forward - 1, operation - 1))
        inputs.append(tuple(sorted(reads)))
    may_run_again = [operation < forward for operation in range(count)]
    if chance.random() < 0.3:
        may_run_again[chance.randrange(forward, count)] = True
    if chance.random() < 0.3:
        may_run_again[chance.randrange(forward)] = False
    return Problem(
        name=f"random-{seed}",
        costs=tuple(chance.randint(1, 20) for _ in range(count)),
        sizes_bytes=tuple(chance.randint(1, 9) for _ in range(count)),
        forward=tuple(may_run_again),
        inputs=tuple(inputs),
    )


def least_of_every_order(problem: Problem, limit_bytes: int) -> int | None:
    """Cheapest cost of any sequence, by Dijkstra over (what has run, what is held)."""
    size, nothing = problem.sizes_bytes, frozenset[int]()
    heap = [(0, 0, nothing, nothing)]
    seen: set[tuple[frozenset[int], frozenset[int]]] = set()
    number = 0
    while heap:
        cost, _, done, held = heapq.heappop(heap)
        if len(done) == problem.count:
            return cost
        if (done, held) in seen:
            continue
        seen.add((done, held))
        following = [(cost, done, held - {dropped}) for dropped in held]
        for o in range(problem.count):
            may_run = o not in held and (o not in done or problem.forward[o])
            after = held | {o}
            fits = sum(size[k] for k in after) <= limit_bytes
            if may_run and fits and held.issuperset(problem.inputs[o]):
                following.append((cost + problem.costs[o], done | {o}, after))
        for paid, ran, there in following:
            number += 1
            heapq.heappush(heap, (paid, number, ran, there))
    return None


def table_within(problem: Problem, limit_bytes: int) -> Table:
    return Table.of(build_instance(as_graph(problem), as_request(limit_bytes, 1.0), 1))


def sharpened(table: Table, *, timed: bool = True) -> int:
    bound = AnyOrderBound(table, timed=timed)
    bound.sharpen(10**12, 30.0, WALL)
    assert bound.exhausted
    return bound.trip_time_ns


def test_no_bound_is_above_the_cheapest_plan_of_any_order() -> None:
    met = 0
    for seed in range(90):
        problem = random_order_problem(seed)
        for less in (1, 3, 5):
            limit = problem.plain_peak_bytes - less
            least = least_of_every_order(problem, limit)
            if least is None:
                break
            bound = sharpened(table_within(problem, limit))
            assert bound <= least
            met += bound == least > problem.base_cost
    assert met >= 10


@pytest.mark.parametrize("seed", range(12))
def test_neither_where_moments_are_any_of_the_path(seed: int) -> None:
    problem = random_order_problem(seed)
    chance = random.Random(seed)
    limit = int(problem.plain_peak_bytes * 0.8)
    least = least_of_every_order(problem, limit)
    if least is None:
        return
    moments = Moments(table_within(problem, limit))
    for _ in range(4):
        count = chance.randint(0, len(moments.path))
        some = sorted(chance.sample(range(len(moments.path)), count))
        built = MomentsProgram(moments, [moments.path[position] for position in some])
        assert built.constant_ns + built.program.whole_lower_bound(10.0) <= least
        assert built.constant_ns + built.program.lower_bound(10.0) <= least


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_neither_where_operations_go_several_ways(seed: int, mode: str) -> None:
    graph = random_graph(seed, mode, tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(update={"update": "full"})
    free = brute_force(graph, asked)
    if free is None:
        return
    for budget in (free.arena_bytes, int(0.9 * free.arena_bytes), int(0.8 * free.arena_bytes)):
        within = asked.model_copy(update={"budget_bytes": budget})
        best = brute_force(graph, within)
        if best is not None:
            table = Table.of(build_instance(graph, within, best.micro_batch))
            bound = with_outside(table, sharpened(table))
            assert bound <= best.time_ns


def test_chains_are_proved_by_a_few_moments() -> None:
    # As Checkmate's program and MOCCASIN's prove (see test_line_search).
    problem = chain(40, 3)
    for part, least in ((0.5, 1066), (0.7, 1003)):
        table = table_within(problem, int(part * problem.plain_peak_bytes))
        assert sharpened(table) == least


@pytest.mark.parametrize("seed", range(4))
def test_without_branching_the_bound_is_no_higher(seed: int) -> None:
    problem = layered(40, seed)
    table = table_within(problem, int(0.6 * problem.plain_peak_bytes))
    linear = sharpened(table, timed=False)
    assert time_lower_bound(table) <= linear <= sharpened(table)


def test_each_moment_of_a_path_comes_before_the_next() -> None:
    moments = Moments(table_within(layered(80, 3), 10**6))
    assert len(moments.path) > 20
    for before, after in zip(moments.path, moments.path[1:], strict=False):
        assert moments.before[after] >> before & 1
    assert not any(moments.is_source[work] for work in moments.path)
