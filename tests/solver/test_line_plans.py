from __future__ import annotations

import random

import pytest

from benchmarks.planners.checkmate import checkmate
from benchmarks.planners.instances import chain
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem, simulate
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.line_plans import offer_schedules
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side, fits
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.shifts import shifted
from memplan.solver.solution import place
from memplan.solver.techniques import Techniques
from tests.solver.relaxation.test_retention import random_problem


def table_of(problem: Problem, limit_bytes: int) -> Table:
    return Table.of(build_instance(as_graph(problem), as_request(limit_bytes, 60.0), 1))


def test_shifted_schedules_are_valid_and_take_the_same_time() -> None:
    problem = random_problem(6, forward=10)
    table = table_of(problem, problem.plain_peak_bytes)
    plain = [(o, 0) for o in range(problem.count)]
    again = (*plain[:14], (3, 0), (5, 0), *plain[14:])
    chance = random.Random(0)
    seen = set()
    for _ in range(30):
        other = shifted(table, again, chance)
        assert sorted(other) == sorted(again)
        assert [step for step in other if step not in ((3, 0), (5, 0))] == [
            step for step in again if step not in ((3, 0), (5, 0))
        ]
        assert live_peak(table, other) is not None
        seen.add(other)
    assert len(seen) > 3
    assert shifted(table, plain, chance) == tuple(plain)


@pytest.mark.parametrize("part", [0.7, 0.5])
def test_a_slow_plan_is_replaced_by_the_cheapest_along_its_line(part: float) -> None:
    problem = chain(20, 0)
    limit = int(part * problem.plain_peak_bytes)
    cheapest = checkmate(problem, limit, 60.0)
    assert cheapest.sequence is not None
    optimum = simulate(problem, cheapest.sequence).cost
    assert cheapest.cost_bound == optimum > problem.base_cost
    table = table_of(problem, limit)
    instance = table.instance
    slow: list[tuple[int, int]] = []
    for operation in range(problem.count):  # the forward pass again before each of the backward
        if operation > 10:
            slow += [(o, 0) for o in range(10)]
        slow.append((operation, 0))
    pursuit = Pursuit(instance.request, Techniques(), Reporter(None), WALL.now() + 60.0, WALL)
    pursuit.sides.append(Side(1, instance, lower_bound(instance, 1.0, WALL)))
    pursuit.best = place(table, slow, None, 0.0)
    line = timeline_of(table, slow)
    assert line is not None
    bound = RecomputationBound(line, instance.room_bytes)
    bound.sharpen(10**9, 60.0, WALL)
    assert bound.trip_time_ns == optimum
    offer_schedules(pursuit, bound)
    assert fits(pursuit.best)
    assert pursuit.best.worth.time_ns == optimum
    assert not bound.take_schedules()
