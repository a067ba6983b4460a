from __future__ import annotations

import heapq
from dataclasses import replace

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.problem import Problem, simulate
from memplan.solver.clock import WALL
from memplan.solver.relaxation.label_search import Effort, find_schedule
from memplan.solver.relaxation.line_optimum import LineSearch
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.stage_program import StageProgram
from memplan.solver.relaxation.whole_program import FRACTION, relax, whole_solution
from tests.solver.relaxation.test_retention import least_cost, line_of, random_problem


def least_of_all(problem: Problem, limit_bytes: int) -> int | None:
    """Cheapest cost of any sequence with the first computations in order, by Dijkstra.

    Over (first computations done, what is held): anything held may be given up at any time, and any
    forward operation may run whenever its operands are held.
    """
    size = problem.sizes_bytes
    heap: list[tuple[int, int, frozenset[int]]] = [(problem.base_cost, 0, frozenset())]
    seen: set[tuple[int, frozenset[int]]] = set()
    while heap:
        cost, done, held = heapq.heappop(heap)
        if done == problem.count:
            return cost
        if (done, held) in seen:
            continue
        seen.add((done, held))
        for dropped in held:
            heapq.heappush(heap, (cost, done, held - {dropped}))
        again = [o for o in range(done) if problem.forward[o] and o not in held]
        for o in (done, *again):
            after = held | {o}
            if set(problem.inputs[o]) <= held and sum(size[k] for k in after) <= limit_bytes:
                first = o == done
                paid = cost if first else cost + problem.costs[o]
                heapq.heappush(heap, (paid, done + first, after))
    return None


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("part", [0.5, 0.6, 0.75, 0.9])
def test_the_search_finds_the_cheapest_of_all_sequences(seed: int, part: float) -> None:
    problem = random_problem(seed, forward=5)
    limit = int(problem.plain_peak_bytes * part)
    least = least_of_all(problem, limit)
    found = LineSearch(line_of(problem, limit), limit, free=True).by_labels(20.0, WALL)
    if least is None:
        assert found.order is None
        return
    assert found.closed
    assert found.order is not None
    replay = simulate(problem, found.order)
    assert replay.peak_bytes <= limit
    assert replay.cost == least == problem.base_cost + found.extra_ns


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("part", [0.55, 0.75])
def test_the_program_is_not_above_the_cheapest_in_order(seed: int, part: float) -> None:
    problem = random_problem(seed)
    limit = int(problem.plain_peak_bytes * part)
    least = least_cost(problem, limit)
    search = LineSearch(line_of(problem, limit), limit, free=False)
    found = search.by_program(20.0, WALL)
    if least is None:
        return
    assert problem.base_cost + found.extra_ns <= least
    if found.closed:
        assert found.order is not None
        replay = simulate(problem, found.order)
        assert replay.peak_bytes <= limit
        assert replay.cost == problem.base_cost + found.extra_ns <= least


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("part", [0.5, 0.7])
def test_of_chains_the_program_is_exact(seed: int, part: float) -> None:
    problem = chain(12, seed)
    limit = int(problem.plain_peak_bytes * part)
    line = line_of(problem, limit)
    ordered = LineSearch(line, limit, free=False).by_program(20.0, WALL)
    free = LineSearch(line, limit, free=True).by_labels(20.0, WALL)
    least = least_of_all(problem, limit)
    if least is None:
        assert free.order is None
        assert ordered.order is None
        return
    assert free.closed
    assert ordered.closed
    assert ordered.order is not None
    assert simulate(problem, ordered.order).peak_bytes <= limit
    assert problem.base_cost + free.extra_ns == least
    assert problem.base_cost + ordered.extra_ns == simulate(problem, ordered.order).cost >= least


@pytest.mark.parametrize("seed", range(8))
def test_potentials_are_not_above_what_came_before(seed: int) -> None:
    problem = layered(10, seed) if seed % 2 else chain(10, seed)
    limit = int(problem.plain_peak_bytes * 0.7)
    line = line_of(problem, limit)
    found = LineSearch(line, limit, free=True).by_labels(20.0, WALL)
    if found.order is None:
        return
    line = replace(line, again_in_forward=True)
    stages = StageProgram(line, limit, 1, ordered=False)
    relaxed = relax(stages.program, 10.0, WALL)
    constant, value = stages.potentials(relaxed.multipliers, FRACTION)
    # What the cheapest schedule needs from step to step.
    order = list(found.order)
    paid = done = 0
    for step, operation in enumerate(order):
        rest = order[step:]
        gains = sum(
            int(value[done, number])
            for number, k in enumerate(stages.items)
            if any(k in problem.inputs[o] and k not in rest[:i] for i, o in enumerate(rest))
        )
        assert int(constant[done]) + gains <= paid * FRACTION
        if operation < done:
            paid += problem.costs[operation]
        else:
            done += 1
    assert done == problem.count
    assert constant[done] == relaxed.bound <= paid * FRACTION
    assert paid == 0 or relaxed.bound > 0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("part", [0.5, 0.6])
def test_a_late_search_is_not_above_an_exact_one(seed: int, part: float) -> None:
    problem = random_problem(seed, forward=6)
    limit = int(problem.plain_peak_bytes * part)
    search = LineSearch(line_of(problem, limit), limit, free=True)
    search.by_labels(20.0, WALL)
    assert search.labels is not None
    most = sum(problem.costs) * FRACTION
    late, exact = (
        find_schedule(search.labels, search.limit, most, Effort(100_000, 100_000, 1, kind))
        for kind in (False, True)
    )
    assert late.complete
    assert exact.complete
    least = least_of_all(problem, limit)
    if exact.order is None:
        assert least is None
        return
    assert search.fits(tuple(exact.order))
    assert late.order is not None
    assert late.cost <= exact.cost
    assert simulate(problem, exact.order).cost == least
    if search.fits(tuple(late.order)):
        assert late.cost == exact.cost


def test_less_is_searched_for_within_fewer_bytes() -> None:
    problem = chain(20, 3)
    limit = int(problem.plain_peak_bytes * 0.7)
    search = LineSearch(line_of(problem, limit), limit, free=True)
    best = search.by_labels(20.0, WALL)
    assert best.closed
    assert best.order is not None
    cost = simulate(problem, best.order).cost
    peak = limit + 1
    while True:
        found = search.another(best.extra_ns, peak - 1, 1)
        if found.order is None:
            break
        replay = simulate(problem, found.order)
        assert replay.cost == cost
        assert replay.peak_bytes < peak
        peak = replay.peak_bytes
    assert found.closed
    tighter = LineSearch(line_of(problem, peak - 1), peak - 1, free=True).by_labels(20.0, WALL)
    assert tighter.closed
    assert tighter.extra_ns > best.extra_ns


def test_a_program_without_a_cheaper_solution_says_so() -> None:
    problem = chain(20, 1)
    limit = int(problem.plain_peak_bytes * 0.6)
    search = LineSearch(line_of(problem, limit), limit, free=False)
    best = search.by_program(20.0, WALL)
    assert best.closed
    program = search.stages.program
    relaxed = relax(program, 10.0, WALL)
    cost = best.extra_ns // search.unit_ns
    assert whole_solution(program, relaxed, cost - 1, 20.0, WALL) == (None, cost)
    values, bound = whole_solution(program, relaxed, cost, 20.0, WALL)
    assert values is not None
    assert bound == cost


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("part", [0.5, 0.6, 0.75])
def test_of_the_only_line_no_bound_is_above_the_cheapest_plan(seed: int, part: float) -> None:
    problem = chain(12, seed)
    limit = int(problem.plain_peak_bytes * part)
    line, least = line_of(problem, limit), least_of_all(problem, limit)
    if least is None:
        return
    assert line.is_only
    bound = RecomputationBound(line, limit)
    bound.sharpen(least, 10.0, WALL)
    assert bound.restrictions == []
    assert bound.trip_time_ns <= least
