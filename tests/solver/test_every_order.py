"""Plans and proofs of the search over all orders, and where it says nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.planners.instances import chain, layered
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem
from memplan.ir.baseline import baseline_bytes
from memplan.ir.plan import Plan
from memplan.solver import Techniques, every_order, solve
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL, WorkClock
from memplan.solver.every_order import search_orders
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.schedule import Table
from memplan.solver.scheduling.pebble_board import Board
from tests.solver.problems import request
from tests.solver.relaxation.test_cheapest_order import (
    board_on,
    least_by_playing_forward,
    least_peak,
    search,
)
from tests.solver.test_other_micro_batches import pursuit_of
from tests.support.hand_graphs import two_layers
from tests.support.random_graphs import random_graph

FOREVER = 1e6


def planned(problem: Problem, budget_bytes: int, *without: str, seconds: float = 6.0) -> Plan:
    asked = as_request(budget_bytes, seconds, workers=1)
    asked = asked.model_copy(update={"deterministic": True})
    answer = solve(as_graph(problem), asked, techniques=Techniques.without(*without))
    assert answer.plan is not None
    return answer.plan


def board_of(problem: Problem) -> Board:
    asked = as_request(2 * problem.plain_peak_bytes, 1.0)
    board = board_on(Table.of(build_instance(as_graph(problem), asked, 1)))
    assert board is not None
    return board


@pytest.mark.parametrize(("seed", "part"), [(31, 0.5), (104, 0.5), (153, 0.7)])
def test_order_recomputation_and_addresses_are_optimal_together(seed: int, part: float) -> None:
    problem = layered(40, seed)
    plan = planned(problem, int(part * problem.plain_peak_bytes))
    certificate = plan.certificate
    assert certificate.status == "optimal" and certificate.restrictions == ()
    assert certificate.lower_bound_time_ns == plan.totals.time_ns
    board = board_of(problem)
    # In fewer bytes there is no plan of this time.
    smaller = search(board, plan.totals.arena_bytes - 1)
    smaller.advance(plan.totals.time_ns + 1, FOREVER, WALL)
    assert smaller.is_over and smaller.schedule is None


@pytest.mark.parametrize("seed", range(5))
def test_both_levels_are_those_of_playing_forward(seed: int) -> None:
    problem = layered(9, seed)
    board = board_of(problem)
    for budget in range(least_peak(board), problem.plain_peak_bytes, 400):
        plan = planned(problem, budget, "joint_model", "line_model")
        time, arena = plan.certificate.levels
        assert time.bound == time.value == least_by_playing_forward(board, budget)
        assert arena.bound is not None
        assert least_by_playing_forward(board, int(arena.bound)) == time.value
        less = least_by_playing_forward(board, int(arena.bound) - 1)
        assert less is None or less > time.value


def test_without_it_another_order_may_be_faster() -> None:
    problem = layered(20, 107)
    budget = int(0.7 * problem.plain_peak_bytes)
    without = planned(problem, budget, "order_search", "joint_model")
    assert without.certificate.status == "feasible"
    assert planned(problem, budget, "joint_model").certificate.status == "optimal"


def test_what_runs_again_is_moved_until_it_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = layered(40, 158)
    budget = int(0.5 * problem.plain_peak_bytes)
    assert planned(problem, budget).certificate.status == "optimal"
    monkeypatch.setattr(every_order, "_MOST_SHIFTS", 0)
    plan = planned(problem, budget)
    time, arena = plan.certificate.levels
    assert (time.gap, arena.bound) == (0, 4208)
    assert plan.totals.arena_bytes > 4208


def test_every_micro_batch_is_searched() -> None:
    graph = random_graph(11, "train", tiny=True)
    budget = int(0.7 * baseline_bytes(graph, 4))
    pursuit = pursuit_of(graph, budget, 4)  # the halves' plan
    assert pursuit.best is not None
    mask = pursuit.best.instance.mask()
    whole, halves = pursuit.sides
    best = pursuit.best.worth.time_ns
    assert whole.least_time_ns(mask) < halves.least_time_ns(mask) == best
    search_orders(pursuit, pursuit.sides, 30.0)
    assert whole.least_time_ns(mask) == best
    asked = request(graph, budget, batch=4, micro_batch=4, compute_limit=None)
    assert solve(graph, asked).plan is None


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_without_a_mask_or_time_nothing_is_searched(seconds: float) -> None:
    graph = two_layers()
    asked = request(graph, baseline_bytes(graph, 1), update="full" if seconds == 0 else "auto")
    pursuit = Pursuit(asked, Techniques(), Reporter(None), WALL.now() + 60.0, WALL)
    instance = build_instance(graph, asked, asked.batch)
    pursuit.sides.append(Side(asked.batch, instance, lower_bound(instance)))
    search_orders(pursuit, pursuit.sides, seconds)
    assert pursuit.best is None and pursuit.searches == 0


def pursuit_within(problem: Problem, budget_bytes: int, computations: int | None) -> Pursuit:
    asked = as_request(budget_bytes, 6.0, workers=1)
    asked = asked.model_copy(update={"deterministic": True, "computations": computations})
    instance = build_instance(as_graph(problem), asked, 1)
    pursuit = Pursuit(asked, Techniques(), Reporter(None), 60.0, WorkClock())
    pursuit.sides.append(Side(1, instance, lower_bound(instance), clock=pursuit.clock))
    return pursuit


def test_what_the_request_does_not_allow_is_a_bound_all_the_same() -> None:
    problem = layered(20, 103)
    board = board_of(problem)
    budget = least_peak(board)
    free = search(board, budget)
    free.advance(None, FOREVER, WALL)
    assert free.schedule is not None and max(Counter(free.schedule).values()) > 2
    pursuit = pursuit_within(problem, budget, computations=2)
    search_orders(pursuit, pursuit.sides, 30.0)
    (side,) = pursuit.sides
    mask = side.instance.mask()
    assert pursuit.best is None and not side.known(mask)
    assert side.least_time_ns(mask) == free.least_ns > problem.base_cost


def test_chains_are_left_to_their_line() -> None:
    problem = chain(20, 0)
    pursuit = pursuit_within(problem, problem.plain_peak_bytes // 2, computations=None)
    search_orders(pursuit, pursuit.sides, 30.0)
    (side,) = pursuit.sides
    assert pursuit.best is None
    assert side.least_time_ns(side.instance.mask()) == problem.base_cost
