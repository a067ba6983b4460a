from __future__ import annotations

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from memplan.ir.plan import Plan
from memplan.solver import Techniques, solve
from memplan.solver.clock import WALL
from memplan.solver.relaxation.line_optimum import LineSearch
from memplan.solver.relaxation.recomputation import Limited, RecomputationBound
from memplan.solver.restrictions import suppose_a_line
from tests.solver.relaxation.test_line_optimum import least_of_all
from tests.solver.relaxation.test_retention import line_of


def settled(problem: Problem, part: float, *without: str, deterministic: bool = False) -> Plan:
    """The plan within a part of the plain peak, whose time is proved."""
    request = as_request(int(part * problem.plain_peak_bytes), 30.0, workers=1)
    request = request.model_copy(update={"deterministic": deterministic})
    answer = solve(as_graph(problem), request, techniques=Techniques.without(*without))
    assert answer.plan is not None
    (time,) = [level for level in answer.plan.certificate.levels if level.name == "time_ns"]
    assert time.gap == 0
    return answer.plan


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", [0.6, 0.8])
def test_short_chains_are_optimal_without_restrictions(seed: int, part: float) -> None:
    problem = chain(12, seed)
    if least_of_all(problem, int(part * problem.plain_peak_bytes)) is None:
        return
    plan = settled(problem, part)
    assert plan.certificate.status == "optimal"
    assert plan.certificate.restrictions == ()
    assert plan.totals.time_ns == least_of_all(problem, plan.request.budget_bytes)
    # In fewer bytes there is no plan of this time.
    assert plan.totals.arena_bytes <= plan.request.budget_bytes
    less = least_of_all(problem, plan.totals.arena_bytes - 1)
    assert less is None or less > plan.totals.time_ns


@pytest.mark.parametrize("part", [0.5, 0.7])
def test_longer_chains_are_proved_without_restrictions(part: float) -> None:
    plan = settled(chain(40, 3), part)
    # As Checkmate's program and MOCCASIN's prove.
    assert plan.totals.time_ns == {0.5: 1066, 0.7: 1003}[part]
    assert plan.certificate.restrictions == ()


def test_the_program_supposes_one_run_in_order_between_first_computations() -> None:
    plan = settled(chain(40, 3), 0.7, "label_search", "any_order_bound", "order_search")
    assert plan.totals.time_ns == 1003
    (restriction,) = plan.certificate.restrictions
    assert "once, in order" in restriction


def test_of_several_orders_the_line_is_a_restriction() -> None:
    problem = layered(40, 2)
    plan = settled(problem, 0.8, "joint_model", "any_order_bound", "order_search")
    assert suppose_a_line(plan.certificate.restrictions)
    assert plan.certificate.levels[0].gap == 0
    assert plan.certificate.status == "feasible"  # another order may be faster


def test_other_orders_are_tried_where_the_plain_one_is_proved() -> None:
    problem = layered(40, 2)
    limit = int(0.8 * problem.plain_peak_bytes)
    plain = LineSearch(line_of(problem, limit), limit, free=True).by_labels(20.0, WALL)
    assert plain.closed
    assert settled(problem, 0.8).totals.time_ns < problem.base_cost + plain.extra_ns


@pytest.mark.parametrize("off", ["label_search", "stage_program"])
def test_either_program_does_without_the_other(off: str) -> None:
    problem = chain(20, 0)
    assert settled(problem, 0.5, off, "joint_model").totals.time_ns == 554


def test_without_the_wall_the_same_plan_comes_again() -> None:
    problem = chain(20, 1)
    first = settled(problem, 0.7, deterministic=True)
    second = settled(problem, 0.7, deterministic=True)
    assert first.body == second.body
    assert first.buffers == second.buffers
    assert first.certificate.status == "optimal"


def test_a_bound_is_of_the_plans_that_it_supposes() -> None:
    problem = layered(16, 0)
    line = line_of(problem, 50)
    bound = RecomputationBound(line, 50)
    bound.limited = Limited(7, ("something",))
    assert bound.trip_time_ns == problem.base_cost + 7
    assert bound.restrictions == ["something"]
    other = line_of(layered(16, 2), 50)
    assert bound.holds_for(line)
    assert not bound.holds_for(other)
    bound.limited = Limited(7, ())
    assert bound.restrictions == []
    assert bound.holds_for(other)
    bound.extra_ns = 8  # what is proved along the line is stronger now, and supposes it
    assert bound.trip_time_ns == problem.base_cost + 8
    assert bound.restrictions == list(line.restrictions)
    assert not bound.holds_for(other)
