from __future__ import annotations

import pytest

from benchmarks.planners.answer import Attempt, NotApplicableError, Planner, check_offsets
from benchmarks.planners.checkmate import checkmate, checkmate_big_m, checkmate_rounding
from benchmarks.planners.chen import chen, segmented
from benchmarks.planners.instances import chain, layered
from benchmarks.planners.packed import packed
from benchmarks.planners.problem import Problem, simulate
from benchmarks.planners.registry import PLANNERS
from tests.solver.relaxation.test_retention import least_cost, random_problem


def line(forward: int, size: int = 1) -> Problem:
    """A chain of equal layers; each gradient reads its activation and the one before."""
    inputs = [() if o == 0 else (o - 1,) for o in range(forward)]
    for mirrored in range(forward - 1, -1, -1):
        gradient = () if mirrored == forward - 1 else (len(inputs) - 1,)
        inputs.append((*range(max(0, mirrored - 1), mirrored + 1), *gradient))
    phases = tuple(o < forward for o in range(2 * forward))
    return Problem("line", (1,) * (2 * forward), (size,) * (2 * forward), phases, tuple(inputs))


def test_a_block_lives_from_its_step_to_its_last_reader() -> None:
    problem = Problem("by hand", (5, 7, 9), (10, 20, 40), (True, True, False), ((), (0,), (0, 1)))
    replay = simulate(problem, (0, 1, 2))
    assert replay.lifetimes == ((0, 0, 3, 10), (1, 1, 3, 20), (2, 2, 3, 40))
    assert (replay.peak_bytes, replay.cost) == (70, 21)


def test_macs_are_counted_where_the_instance_has_them() -> None:
    problem = Problem("macs", (5, 7), (10, 20), (True, False), ((), (0,)), (3, 4))
    replay = simulate(problem, (0, 0, 1))
    assert (replay.macs, problem.base_macs) == (10, 7)
    without = chain(4, 0)
    assert simulate(without, range(4)).macs is without.base_macs is None


def test_what_runs_again_is_freed_in_between() -> None:
    inputs: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 2))
    problem = Problem("again", (1, 1, 1, 1), (10, 1, 30, 1), (True, True, False, False), inputs)
    kept, again = simulate(problem, (0, 1, 2, 3)), simulate(problem, (0, 1, 2, 0, 3))
    assert kept.peak_bytes == 41 and kept.cost == 4
    assert again.lifetimes[0] == (0, 0, 2, 10) and again.lifetimes[3] == (0, 3, 5, 10)
    assert again.peak_bytes == 41 and again.cost == 5


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ((1, 0, 2), "reads 0, not computed"),
        ((0, 1), "operation 2 is left out"),
        ((0, 1, 2, 2), "may not run again"),
    ],
)
def test_the_simulator_refuses_what_is_no_plan(sequence: tuple[int, ...], message: str) -> None:
    problem = Problem("p", (1, 1, 1), (1, 1, 1), (True, True, False), ((), (0,), (1,)))
    with pytest.raises(ValueError, match=message):
        simulate(problem, sequence)


def test_addresses_are_checked_for_overlap() -> None:
    lifetimes = ((0, 0, 2, 10), (1, 1, 3, 10), (2, 2, 4, 10))
    assert check_offsets(lifetimes, (0, 10, 0)) == 20
    with pytest.raises(ValueError, match="share bytes at step 1"):
        check_offsets(lifetimes, (0, 9, 0))


def test_a_packed_sequence_has_valid_addresses() -> None:
    problem = layered(30, 3)
    sequence = range(problem.count)
    found = packed(problem, sequence, problem.plain_peak_bytes, 1.0)
    replay = simulate(problem, sequence)
    assert check_offsets(replay.lifetimes, found.offsets) == found.arena_bytes
    assert found.arena_bytes >= replay.peak_bytes


def _attempt(planner: str, problem: Problem, budget: int, seconds: float = 3.0) -> Attempt | None:
    try:
        return PLANNERS[planner](problem, budget, seconds)
    except NotApplicableError:
        return None


@pytest.mark.parametrize("planner", PLANNERS)
def test_every_planner_returns_valid_sequences_and_true_bounds(planner: str) -> None:
    exact = planner in ("checkmate", "memplan")
    for seed in range(4):
        problem = random_problem(seed)
        for part in (0.6, 0.8, 1.0):
            budget = int(part * problem.plain_peak_bytes)
            attempt = _attempt(planner, problem, budget)
            if attempt is None:
                continue
            least = least_cost(problem, budget)
            if attempt.infeasible:
                assert least is None
            if attempt.sequence is None:
                assert not (exact and least is not None)
                continue
            replay = simulate(problem, attempt.sequence)
            if attempt.offsets is not None:
                assert check_offsets(replay.lifetimes, attempt.offsets) >= replay.peak_bytes
            if attempt.cost_bound is not None:
                assert attempt.cost_bound <= replay.cost
                if least is not None and planner != "memplan":
                    assert attempt.cost_bound <= least
            if exact:
                assert replay.peak_bytes <= budget


@pytest.mark.parametrize("program", [checkmate, checkmate_big_m])
@pytest.mark.parametrize("seed", range(8))
def test_checkmate_is_exact(seed: int, program: Planner) -> None:
    problem = random_problem(seed)
    for part in (0.5, 0.65, 0.8):
        budget = int(part * problem.plain_peak_bytes)
        least = least_cost(problem, budget)
        attempt = program(problem, budget, 10.0)
        if least is None:
            # Brute force runs nothing again before the second backward operation.
            continue
        assert attempt.sequence is not None
        replay = simulate(problem, attempt.sequence)
        assert replay.cost <= least
        assert attempt.cost_bound == replay.cost
        assert replay.peak_bytes <= budget


def test_rounding_is_never_below_the_optimum() -> None:
    fits = 0
    for seed in range(6):
        problem = chain(24, seed)
        budget = int(0.75 * problem.plain_peak_bytes)
        rounded = checkmate_rounding(problem, budget, 5.0)
        optimum = checkmate(problem, budget, 5.0).cost_bound
        if rounded.sequence is None or optimum is None:
            continue
        replay = simulate(problem, rounded.sequence)
        if replay.peak_bytes <= budget:
            fits += 1
            assert replay.cost >= optimum
    assert fits


def test_chen_keeps_about_two_sqrt_n_of_a_chain() -> None:
    problem = line(64)
    attempt = chen(problem, 1, 1.0)
    assert attempt.sequence is not None
    replay = simulate(problem, attempt.sequence)
    assert problem.plain_peak_bytes >= 64
    assert replay.peak_bytes <= 2 * 8 + 3
    # Nothing runs more than once again; the last segment and the borders never.
    assert replay.cost == problem.base_cost + 7 * 7


def test_one_segment_is_the_plain_order() -> None:
    problem = layered(40, 2)
    assert segmented(problem, [0]) == tuple(range(problem.count))


def test_families_are_mirrored() -> None:
    for problem in (chain(20, 0), layered(50, 7)):
        forward = sum(problem.forward)
        assert forward == problem.count // 2
        assert all(read < o for o, reads in enumerate(problem.inputs) for read in reads)
        assert all(problem.sizes_bytes[o] == problem.sizes_bytes[-1 - o] for o in range(forward))
    assert layered(50, 7) == layered(50, 7)
    assert layered(50, 7) != layered(50, 8)
