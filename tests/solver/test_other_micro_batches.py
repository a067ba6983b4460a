from __future__ import annotations

import pytest

from memplan.ir.baseline import baseline_bytes
from memplan.ir.graph import OpGraph
from memplan.solver import solve
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL
from memplan.solver.other_micro_batches import bound_others, faster_sides, least_time_of_others
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.restrictions import OTHER_MICRO_BATCHES, suppose_a_line
from memplan.solver.solution import place
from memplan.solver.techniques import Techniques
from tests.solver.problems import request
from tests.support.hand_graphs import chain


def pursuit_of(graph: OpGraph, budget_bytes: int, batch: int) -> Pursuit:
    """Return a search of a whole batch and of halves, of which the halves have a plan."""
    asked = request(graph, budget_bytes, batch=batch, compute_limit=None)
    pursuit = Pursuit(asked, Techniques(), Reporter(None), WALL.now() + 60.0, WALL)
    for samples in (batch, batch // 2):
        instance = build_instance(graph, asked, samples)
        pursuit.sides.append(Side(samples, instance, lower_bound(instance, 1.0, WALL)))
    side = pursuit.sides[1]
    table = side.table(side.instance.mask())
    plain = [(work, way[0]) for work, way in enumerate(table.allowed)]
    pursuit.best = place(table, plain, table.instance.room_bytes, 1.0)
    return pursuit


def least_time_ns(graph: OpGraph, budget_bytes: int, batch: int, micro_batch: int) -> int:
    asked = request(
        graph,
        budget_bytes,
        batch=batch,
        micro_batch=micro_batch,
        compute_limit=None,
        time_limit_seconds=30.0,
    )
    answer = solve(graph, asked)
    assert answer.status == "optimal"
    assert answer.plan is not None
    return answer.plan.totals.time_ns


@pytest.mark.parametrize("part", [0.62, 0.7, 0.8])
def test_what_another_micro_batch_must_compute_again_counts(part: float) -> None:
    graph = chain(8)
    budget = int(part * baseline_bytes(graph, 4))
    pursuit = pursuit_of(graph, budget, 4)
    best = pursuit.best
    assert best is not None
    line = timeline_of(best.table, best.schedule)
    assert line is not None
    side = pursuit.sides[0]
    plain = side.least_time_ns(best.instance.mask())
    assert faster_sides(pursuit, pursuit.sides, best) == [side]
    assert least_time_of_others(pursuit, pursuit.sides, best, line) == (plain, [])
    bound_others(pursuit, pursuit.sides, line, 20.0)
    bound, supposed = least_time_of_others(pursuit, pursuit.sides, best, line)
    assert plain < bound <= least_time_ns(graph, budget, 4, 4)
    assert supposed[-1] == OTHER_MICRO_BATCHES
    assert suppose_a_line(supposed)


def test_of_another_line_nothing_is_known() -> None:
    graph = chain(8)
    pursuit = pursuit_of(graph, int(0.7 * baseline_bytes(graph, 4)), 4)
    best = pursuit.best
    assert best is not None
    line = timeline_of(best.table, best.schedule)
    assert line is not None
    bound_others(pursuit, pursuit.sides, line, 20.0)
    first, second, *rest = best.schedule
    bound, _ = least_time_of_others(pursuit, pursuit.sides, best, line)
    again = (first, second, *rest[:5], second, *rest[5:])
    other = timeline_of(best.table, again)
    assert other is not None
    assert other != line
    plain = pursuit.sides[0].least_time_ns(best.instance.mask())
    assert least_time_of_others(pursuit, pursuit.sides, best, other) == (plain, [])
    assert bound > plain
