"""Bounds and optima against HiGHS: the whole problem, one line of it, and packing, as programs.

The programs are written down elsewhere, in other terms than the solver's, and solved by another
method than brute force's.
"""

from __future__ import annotations

import random

import pytest

from benchmarks.planners.checkmate import checkmate
from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import simulate
from memplan.ir.packing import PackingBuffer
from memplan.solver import Techniques, solve
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.packing import answer as pack_answer
from memplan.solver.relaxation.line_model import solve_line
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.schedule import Table
from memplan.solver.time_bound import linear_time_lower_bound
from tests.solver.relaxation.test_retention import line_of, random_problem
from tests.support.whole_milp import least_arena, least_height, least_time_and_arena

COMPUTATIONS = 2


@pytest.mark.parametrize(("seed", "forward"), [(1, 2), (4, 2), (5, 2), (0, 3), (2, 3)])
def test_the_whole_problem(seed: int, forward: int) -> None:
    problem = random_problem(seed, forward)
    least = least_arena(problem, COMPUTATIONS)
    budget = (least + problem.plain_peak_bytes) // 2
    found = least_time_and_arena(problem, budget, COMPUTATIONS)
    assert found is not None
    asked = as_request(budget, 60.0, workers=1).model_copy(update={"computations": COMPUTATIONS})
    graph = as_graph(problem)
    instance = build_instance(graph, asked, 1)
    assert lower_bound(instance).bytes <= least
    assert linear_time_lower_bound(Table.of(instance)) <= found[0]
    whole = solve(graph, asked)
    assert whole.plan is not None
    assert whole.status == "optimal"
    assert (whole.plan.totals.time_ns, whole.plan.totals.arena_bytes) == found
    # Without the joint model, what is left are the bounds.
    parts = asked.model_copy(update={"time_limit_seconds": 1.0})
    answer = solve(graph, parts, techniques=Techniques.without("joint_model"))
    assert answer.lower_bound_bytes <= least
    if answer.plan is not None:
        time, _ = answer.plan.certificate.levels
        assert time.value >= found[0]
        if not answer.plan.certificate.restrictions:
            assert time.bound is None or time.bound <= found[0]
    below = solve(graph, parts.model_copy(update={"budget_bytes": least - 1}))
    assert below.plan is None


@pytest.mark.parametrize("make", [lambda: chain(14, 1), lambda: layered(14, 3)])
@pytest.mark.parametrize("part", [0.6, 0.8])
def test_recomputation_along_a_line(make: object, part: float) -> None:
    assert callable(make)
    problem = make()
    limit = int(part * problem.plain_peak_bytes)
    program = checkmate(problem, limit, 120.0)
    line = line_of(problem, limit)
    found = solve_line(line, limit, 6, 60.0, 0, 1, WALL)
    bound = RecomputationBound(line, limit)
    bound.sharpen(10**12, 20.0, WALL)
    if program.infeasible:
        assert found.order is None
        return
    assert program.sequence is not None
    optimum = simulate(problem, program.sequence).cost
    assert program.cost_bound == optimum
    assert bound.trip_time_ns <= optimum
    assert found.order is not None
    assert simulate(problem, found.order).cost == optimum == problem.base_cost + found.extra_ns


@pytest.mark.parametrize("seed", range(8))
def test_packing(seed: int) -> None:
    chance = random.Random(seed)
    rectangles = []
    for _ in range(7):
        start = chance.randrange(8)
        rectangles.append((start, start + chance.randint(1, 5), chance.randint(1, 12)))
    least = least_height(rectangles)
    buffers = [PackingBuffer(str(i), *rectangle) for i, rectangle in enumerate(rectangles)]
    free = pack_answer(buffers, None, seconds=60.0, workers=1)
    assert free.status == "optimal"
    assert free.height == free.lower_bound == least
    assert pack_answer(buffers, least, seconds=60.0, workers=1).status == "feasible"
    below = pack_answer(buffers, least - 1, seconds=60.0, workers=1)
    assert below.status == "infeasible"
    assert below.lower_bound == least
