from __future__ import annotations

import pytest

from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import simulate
from memplan.solver import solve
from memplan.solver.clock import WALL
from memplan.solver.relaxation.line_model import solve_line
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.techniques import Techniques
from tests.solver.problems import table_of
from tests.solver.relaxation.test_retention import least_cost, line_of, random_problem
from tests.support.graph_builder import GraphBuilder, alternative


@pytest.mark.parametrize("seed", range(14))
@pytest.mark.parametrize("part", [0.55, 0.75])
def test_the_cheapest_recomputation_is_found_and_proved(seed: int, part: float) -> None:
    problem = random_problem(seed)
    limit = int(problem.plain_peak_bytes * part)
    least = least_cost(problem, limit)
    line = line_of(problem, limit)
    # No operation can be of use more often than there are backward operations.
    found = solve_line(line, limit, 5, 20.0, seed, 1, WALL)
    if least is None:
        assert found.order is None
        return
    assert found.order is not None
    assert found.exact
    replay = simulate(problem, found.order)
    assert replay.peak_bytes <= limit
    assert replay.cost == least == problem.base_cost + found.extra_ns


def test_with_one_computation_nothing_runs_again() -> None:
    problem = random_problem(3)
    peak = problem.plain_peak_bytes
    found = solve_line(line_of(problem, peak), peak, 1, 20.0, 0, 1, WALL)
    assert found.order == tuple(range(problem.count))
    assert solve_line(line_of(problem, peak), peak // 2, 1, 20.0, 0, 1, WALL).order is None


def test_a_small_graph_is_settled_by_it() -> None:
    problem = random_problem(4, forward=12)
    limit = int(problem.plain_peak_bytes * 0.8)
    with_it = solve(as_graph(problem), as_request(limit, 5.0))
    without = solve(
        as_graph(problem), as_request(limit, 5.0), techniques=Techniques.without("line_model")
    )
    assert with_it.plan is not None
    assert without.plan is not None
    assert with_it.plan.totals.time_ns <= without.plan.totals.time_ns


def test_workspace_and_sharing_of_the_same_size_are_not_taken_for_none() -> None:
    build = GraphBuilder("shared", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 16)
    way = alternative(["x"], macs=5, workspace=16)
    build.forward("f", "a", 16, way)
    build.forward("g", "b", 16, alternative(["a"], macs=5, workspace=16, in_place=[(0, 0)]))
    graph = build.build(["b"])
    table = table_of(graph, batch=1)
    line = timeline_of(table, [(0, 0), (1, 0)])
    assert line is not None
    assert line.beside_bytes[1] == 0
    assert not line.is_plain
    found = solve_line(line, 10**6, 3, 20.0, 0, 1, WALL)
    assert found.order == (0, 1)
    assert not found.exact
