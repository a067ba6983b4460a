from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from benchmarks.planners.answer import Attempt, NotApplicableError, check_offsets
from benchmarks.planners.blocks import blocks
from benchmarks.planners.checkmate import checkmate
from benchmarks.planners.instances import chain, layered
from benchmarks.planners.melon import lifetime_aware_pool, melon
from benchmarks.planners.min_cut import min_cut, partitioned
from benchmarks.planners.moccasin import moccasin
from benchmarks.planners.model_joint import MOST_OPERATIONS, model_joint
from benchmarks.planners.packed import Packed
from benchmarks.planners.problem import Problem, simulate
from benchmarks.planners.rotor import rotor
from benchmarks.planners.sequential import sequential
from benchmarks.planners.torch_graphs import trace, traced
from memplan.solver.packing import Rectangle
from tests.solver.relaxation.test_retention import least_cost, random_problem


@pytest.mark.parametrize("seed", range(5))
def test_exact_rivals_agree(seed: int) -> None:
    problem = chain(16, seed)
    for part in (0.6, 0.8):
        budget = int(part * problem.plain_peak_bytes)
        ours = checkmate(problem, budget, 10.0)
        theirs = moccasin(problem, budget, 10.0, computations=4)
        assert ours.infeasible == theirs.infeasible
        if ours.sequence is not None and theirs.sequence is not None:
            costs = {simulate(problem, a.sequence).cost for a in (ours, theirs) if a.sequence}
            assert costs == {ours.cost_bound} == {theirs.cost_bound}


def test_two_intervals_can_be_too_few() -> None:
    lost = 0
    for seed in range(12):
        problem = chain(16, seed)
        budget = int(0.55 * problem.plain_peak_bytes)
        few = moccasin(problem, budget, 10.0, computations=2)
        if few.infeasible:
            lost += not moccasin(problem, budget, 10.0, computations=4).infeasible
    assert lost


@pytest.mark.parametrize("seed", range(4))
def test_moccasin_is_exact_on_tiny_problems(seed: int) -> None:
    problem = random_problem(seed)
    budget = int(0.7 * problem.plain_peak_bytes)
    least = least_cost(problem, budget)
    attempt = moccasin(problem, budget, 10.0, computations=4)
    if least is not None:
        assert attempt.sequence is not None
        assert simulate(problem, attempt.sequence).cost == attempt.cost_bound
        assert attempt.cost_bound <= least


def test_the_joint_program_places_what_it_orders() -> None:
    problem = chain(10, 5)
    budget = int(0.85 * problem.plain_peak_bytes)
    optimum = checkmate(problem, budget, 10.0)
    attempt = model_joint(problem, budget, 20.0)
    assert optimum.sequence is not None
    assert attempt.sequence is not None and attempt.offsets is not None
    replay = simulate(problem, attempt.sequence)
    assert replay.peak_bytes <= check_offsets(replay.lifetimes, attempt.offsets) <= budget
    assert attempt.cost_bound is not None and attempt.cost_bound <= replay.cost


def test_the_joint_program_is_for_small_graphs() -> None:
    with pytest.raises(NotApplicableError, match="operations"):
        model_joint(chain(MOST_OPERATIONS + 2, 0), 10**6, 1.0)


def test_a_chain_has_a_block_per_layer() -> None:
    problem = chain(20, 0)
    found = blocks(problem)
    assert [block.forward for block in found] == [(o,) for o in range(10)]
    # The last gradient reads what the block before has put out, so it may stand behind either.
    assert [block.backward for block in found[2:]] == [(19 - o,) for o in range(2, 10)]
    assert [*found[1].backward, *found[0].backward] == [18, 19]
    assert [block.border for block in found] == [None, *range(9)]


def test_blocks_hold_everything_once_and_read_no_further_than_their_border() -> None:
    for seed in range(6):
        problem = layered(60, seed)
        found = blocks(problem)
        everything = [o for block in found for o in (*block.forward, *block.backward)]
        assert sorted(everything) == list(range(problem.count))
        for block in found:
            for o in (*block.forward, *block.backward):
                forward = {read for read in problem.inputs[o] if problem.forward[read]}
                assert forward <= {*block.forward, block.border}


def test_rotor_runs_more_again_the_less_there_is_and_is_never_below_the_optimum() -> None:
    for seed in range(3):
        problem = chain(24, seed)
        costs = []
        for part in (1.0, 0.8, 0.65):
            budget = int(part * problem.plain_peak_bytes)
            attempt = rotor(problem, budget, 10.0)
            if attempt.sequence is None:
                continue
            replay = simulate(problem, attempt.sequence)
            if replay.peak_bytes <= budget:
                optimum = checkmate(problem, budget, 10.0).cost_bound
                assert optimum is not None and replay.cost >= optimum
                costs.append(replay.cost)
        assert len(costs) >= 2
        assert costs == sorted(costs) and costs[0] == problem.base_cost < costs[-1]


def test_rotor_is_not_for_one_block() -> None:
    # The last gradient needs what is behind the border again.
    inputs: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 3), (2, 4), (0, 2, 5))
    phases = (True, True, True, False, False, False, False)
    problem = Problem("one", (1,) * 7, (1,) * 7, phases, inputs)
    with pytest.raises(NotApplicableError, match="one block"):
        rotor(problem, 10, 1.0)


def test_the_pool_places_long_lifetimes_first() -> None:
    rectangles = [Rectangle(0, 2, 50), Rectangle(0, 9, 10), Rectangle(1, 5, 20)]
    assert lifetime_aware_pool(rectangles) == [30, 0, 10]


def test_melon_evicts_down_to_its_budget() -> None:
    fits = 0
    for seed in range(5):
        problem = layered(60, seed)
        budget = int(0.7 * problem.plain_peak_bytes)
        attempt = melon(problem, budget, 10.0)
        if attempt.sequence is None or attempt.offsets is None:
            continue
        replay = simulate(problem, attempt.sequence)
        arena = check_offsets(replay.lifetimes, attempt.offsets)
        assert replay.cost > problem.base_cost
        fits += arena <= budget
    assert fits >= 2


def test_a_torch_graph_has_an_operation_per_output() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(), nn.Linear(8, 3))
    step = trace("tiny", model, (torch.zeros(4, 1, 4, 4),))
    problem = step.problem
    names = {operation: name for name, operation in step.operations.items()}
    convolution = next(o for o, name in names.items() if name == "convolution")
    assert problem.sizes_bytes[convolution] == 4 * 2 * 2 * 2 * 4
    # Counted by hand: 9 multiply-accumulates per output, and what is read and written.
    assert problem.costs[convolution] == 9 * 32 + 4 * (4 * 16 + 2 * 9 + 32)
    # The flattened activation is a view: the linear layer reads the convolution itself.
    assert any(
        convolution in problem.inputs[o] and problem.forward[o] for o in range(problem.count)
    )
    assert not any("view" in name for name in step.operations)
    assert simulate(problem, range(problem.count)).cost == problem.base_cost


def test_the_partitioner_pays_more_and_more_for_a_peak_that_comes_back() -> None:
    problem = traced("conv-bn-relu-7").problem
    replays = {budget: simulate(problem, s) for budget, s in partitioned(problem.name).items()}
    assert replays[1.0].cost == problem.base_cost
    assert replays[0.0].cost > replays[0.5].cost > problem.base_cost
    assert replays[0.5].peak_bytes < replays[1.0].peak_bytes
    assert replays[0.0].peak_bytes > replays[0.5].peak_bytes
    attempt = min_cut(problem, replays[0.5].peak_bytes, 1.0)
    assert attempt.sequence is not None
    assert simulate(problem, attempt.sequence).cost == replays[0.5].cost


def test_the_partitioner_needs_a_torch_graph() -> None:
    with pytest.raises(NotApplicableError, match="no torch graph"):
        min_cut(chain(20, 0), 100, 1.0)


def test_the_pipeline_tightens_its_limit_until_addresses_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = chain(20, 0)
    budget = int(0.8 * problem.plain_peak_bytes)
    arenas = iter((budget + 7, budget - 1))
    limits: list[int] = []

    def exact(given: Problem, limit: int, seconds: float) -> Attempt:
        limits.append(limit)
        return checkmate(given, limit, seconds)

    def poorly(given: Problem, sequence: Sequence[int], limit: int, seconds: float) -> Packed:
        return Packed(tuple(range(len(sequence))), next(arenas))

    monkeypatch.setattr("benchmarks.planners.sequential.packed", poorly)
    attempt = sequential(problem, budget, 20.0, exact=exact, heuristics={"melon": melon})
    assert limits == [budget, budget - 7]
    assert attempt.sequence is not None and attempt.offsets is not None
    assert simulate(problem, attempt.sequence).peak_bytes <= budget - 7
    # What the first, wider limit proved holds; what the second did is about another problem.
    assert attempt.cost_bound == checkmate(problem, budget, 20.0).cost_bound


def test_the_pipeline_takes_a_heuristic_where_the_program_finds_nothing() -> None:
    problem = layered(60, 1)
    budget = int(0.8 * problem.plain_peak_bytes)

    def exact(given: Problem, limit: int, seconds: float) -> Attempt:
        return Attempt(None)

    attempt = sequential(problem, budget, 8.0, exact=exact, heuristics={"melon": melon})
    assert attempt.sequence is not None and attempt.note == "melon"
    assert simulate(problem, attempt.sequence).peak_bytes <= budget
