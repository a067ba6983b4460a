from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from benchmarks.planners.problem import Problem, simulate
from memplan.solver.clock import WALL
from memplan.solver.relaxation.refinement import Refinement
from memplan.solver.relaxation.retention import even_cuts, retention
from memplan.solver.relaxation.rounding import rounded, unchanged
from tests.solver.relaxation.test_retention import (
    late_problem,
    least_cost,
    line_of,
    random_problem,
)


def test_refinement_meets_the_cheapest_recomputation_or_stays_below() -> None:
    met = 0
    for seed in range(12):
        for problem, part in product((random_problem(seed), late_problem(seed)), (0.75, 0.85)):
            limit = int(problem.plain_peak_bytes * part)
            least = least_cost(problem, limit)
            if least is None:
                continue
            refinement = Refinement(line_of(problem, limit), limit)
            refinement.advance(10**9, WALL.now() + 60.0, WALL)
            assert refinement.is_over
            assert problem.base_cost + refinement.extra_ns <= least
            if refinement.is_met:
                assert problem.base_cost + refinement.extra_ns == least
                met += least > problem.base_cost
    assert met >= 3


def test_a_rounded_schedule_is_one_and_says_where_it_exceeds() -> None:
    fitting = exceeding = 0
    for seed in range(12):
        problem = random_problem(seed, forward=10)
        limit = int(problem.plain_peak_bytes * 0.75)
        line = line_of(problem, limit)
        for blocks in (1, 4, 16):
            program = retention(line, limit, even_cuts(line, blocks))
            found = program.program.whole(10.0)
            if found.values is None:
                continue
            schedule = rounded(line, limit, program, found.values)
            replay = simulate(problem, schedule.order)
            assert replay.cost == problem.base_cost + schedule.extra_ns
            assert schedule.extra_ns <= found.bound
            assert (replay.peak_bytes > limit) == bool(schedule.exceeding)
            fitting += not schedule.exceeding
            exceeding += bool(schedule.exceeding)
    assert fitting >= 3 and exceeding >= 3


def test_fixed_to_a_solution_a_program_has_no_better_one() -> None:
    problem = random_problem(4, forward=12)
    limit = int(problem.plain_peak_bytes * 0.7)
    line = line_of(problem, limit)
    coarse = retention(line, limit, even_cuts(line, 4))
    found = coarse.program.whole(10.0)
    assert found.values is not None
    cuts = even_cuts(line, 4)
    finer = retention(line, limit, sorted({*cuts, cuts[1] + 1}))
    fixed = unchanged(finer, coarse, found.values)
    assert fixed
    assert finer.program.whole(10.0, fixed=fixed).bound >= finer.program.whole(10.0).bound
    assert set(fixed.values()) <= {0, 1}


def test_bytes_beside_items_count() -> None:
    problem = random_problem(3)
    limit = problem.plain_peak_bytes
    line = line_of(problem, limit)
    last = len(line.reads) - 1
    beside = (*line.beside_bytes[:last], limit)
    heavy = replace(line, beside_bytes=beside)
    program = retention(line, limit, even_cuts(line, 1))
    values = [0.0] * len(program.program.costs)
    for (_, _), variable in (*program.held.items(), *program.through.items()):
        values[variable] = 1.0
    assert rounded(heavy, limit, program, values).exceeding == (last,)


def residual_problem(blocks: int) -> Problem:
    """Blocks of a convolution, a ReLU, a sum with what goes by, and a ReLU; no norms.

    Backward: only results of ReLUs are read, so nothing else need be kept.
    """
    sizes, costs, relus = [8], [9], [0]
    inputs: list[tuple[int, ...]] = [()]
    for block in range(blocks):
        size = 8 if block < blocks // 2 else 4
        first = len(sizes)
        inputs += [(relus[-1],), (first,), (first + 1, relus[-1]), (first + 2,)]
        sizes += [size, size, size, size]
        costs += [10 + block, 1, 2, 1]
        relus += [first + 1, first + 3]
    forward = len(sizes)
    for place, relu in enumerate(reversed(relus)):
        inputs.append((forward + place - 1, relu))
        sizes.append(sizes[relu])
        costs.append(10)
    phases = tuple(operation < forward for operation in range(len(sizes)))
    return Problem("residual", tuple(costs), tuple(sizes), phases, tuple(inputs))


@pytest.mark.parametrize("part", [0.5, 0.6])
def test_a_few_cuts_where_the_limit_is_exceeded_do_more_than_even_ones(part: float) -> None:
    problem = residual_problem(6)
    limit = int(problem.plain_peak_bytes * part)
    line = line_of(problem, limit)
    refinement = Refinement(line, limit)
    refinement.advance(10**9, WALL.now() + 60.0, WALL)
    assert refinement.is_met
    best = min(one.extra_ns for one in refinement.schedules if not one.exceeding)
    assert best == refinement.extra_ns > 0
    even = retention(line, limit, even_cuts(line, 2)).program.whole(10.0)
    assert even.bound < best
    assert best >= retention(line, limit, even_cuts(line, 8)).program.whole(10.0).bound


def test_a_refinement_that_is_broken_off_goes_on_later() -> None:
    problem = residual_problem(5)
    limit = int(problem.plain_peak_bytes * 0.5)
    line = line_of(problem, limit)
    at_once, in_turns = Refinement(line, limit), Refinement(line, limit)
    at_once.advance(10**9, WALL.now() + 60.0, WALL)
    bounds = []
    while not in_turns.is_over:
        in_turns.advance(in_turns.extra_ns + 1, WALL.now() + 60.0, WALL)
        bounds.append(in_turns.extra_ns)
    assert bounds == sorted(bounds)
    assert in_turns.extra_ns == at_once.extra_ns
