"""Rotor (Beaumont et al., 2019): the dynamic program over a chain of blocks.

C(s, t, m) is the least cost of running blocks s to t forward and backward in m bytes beside the
input of s, which stays.  Either block s runs and saves what its backward reads, or the output of
block k - 1 is checkpointed and nothing else:

    C(s, t, m) = min( run(s) + C(s+1, t, m - saved(s)),
                      min over k of run(s..k-1) + C(k, t, m - output(k-1)) + C(s, k-1, m) )

Bytes are counted in slots, rounded up.  Published for chains; elsewhere the chain is that of the
blocks between articulation points, each of which runs as a whole, and a graph that is one block has
no such plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from benchmarks.planners.answer import Attempt, Deadline, NotApplicableError, cheapest
from benchmarks.planners.blocks import Block, blocks
from benchmarks.planners.problem import Problem, simulate

__all__ = ["rotor"]

#: The authors' number of slots is 500.
_SLOTS = 500
_MOST_SLOTS = 1500
#: Budgets, as parts of the one that is asked for.
_FACTORS = (1.0, *(factor / 20 for factor in range(18, 31) if factor != 20))
_NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class _Stage:
    """Facts of a block, in slots.

    Attributes:
        passed: operations that run where nothing but the output is wanted.
        kept: operations that run where the backward follows.
        output, saved: bytes; ``saved`` has the output in it.
        pass_peak, keep_peak: of the forward, without the input.
        backward_peak: with gradients and what is saved, without the input.
        gradient: bytes of gradients when the backward of the block begins.
        passed_cost, kept_cost: of the forward, in units of the instance.
    """

    passed: tuple[int, ...]
    kept: tuple[int, ...]
    output: int
    saved: int
    pass_peak: int
    keep_peak: int
    backward_peak: int
    gradient: int
    passed_cost: int
    kept_cost: int


def rotor(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Run the dynamic program, and write its plan out.

    Its account of blocks that run as a whole is above what is live, so it runs at several budgets
    around the one that is asked for; the cheapest plan that fits counts.
    """
    deadline = Deadline(seconds)
    chain = blocks(problem)
    if len(chain) < 2:
        raise NotApplicableError("the graph is one block: it has no articulation point")
    candidates = []
    for factor in _FACTORS:
        sequence = _plan(problem, chain, int(factor * budget_bytes), deadline)
        if sequence is not None:
            candidates.append(sequence)
    note = f"{len(chain)} blocks"
    best = cheapest(problem, candidates, budget_bytes)
    if best is None and candidates:
        # What comes closest says by how much it failed.
        best = min(candidates, key=lambda c: simulate(problem, c).peak_bytes)
    return Attempt(best, note=note)


def _plan(
    problem: Problem, chain: list[Block], budget_bytes: int, deadline: Deadline
) -> tuple[int, ...] | None:
    exact = gcd(budget_bytes, *problem.sizes_bytes)
    exact_slots = budget_bytes // exact
    slot = exact if exact_slots <= _MOST_SLOTS else -(-budget_bytes // _SLOTS)
    slots = budget_bytes // slot
    stages = [_stage(problem, block, slot) for block in chain]
    table = _solve(stages, slots, deadline)
    if table is None:
        return None
    costs, choices = table
    if costs[0, len(stages) - 1][slots] >= _NEVER:
        return None
    steps: list[int] = []
    _write(stages, chain, choices, 0, len(stages) - 1, slots, steps)
    return _with_first(problem, steps)


Tables = tuple[dict[tuple[int, int], NDArray[np.int64]], dict[tuple[int, int], NDArray[np.int32]]]


def _solve(stages: list[_Stage], slots: int, deadline: Deadline) -> Tables | None:
    count = len(stages)
    costs: dict[tuple[int, int], NDArray[np.int64]] = {}
    choices: dict[tuple[int, int], NDArray[np.int32]] = {}
    for length in range(count):
        for s in range(count - length):
            if deadline.over:
                return None
            t = s + length
            best = np.full(slots + 1, _NEVER, dtype=np.int64)
            choice = np.full(slots + 1, -1, dtype=np.int32)
            own, gradient = stages[s], stages[t].gradient
            least = max(gradient + own.keep_peak, own.backward_peak)
            if not length:
                best[least:] = own.kept_cost
                choice[least:] = s
            else:
                _take(best, choice, s, costs[s + 1, t], own.kept_cost, own.saved, least)
            run = peak = 0
            for k in range(s + 1, t + 1):
                before = stages[k - 2].output if k - 1 > s else 0
                run += stages[k - 1].passed_cost
                peak = max(peak, gradient + before + stages[k - 1].pass_peak)
                right = costs[k, t]
                left = costs[s, k - 1]
                output = stages[k - 1].output
                start = max(output, peak)
                if start > slots:
                    continue
                sums = right[start - output : slots + 1 - output] + left[start:] + run
                better = sums < best[start:]
                best[start:][better] = sums[better]
                choice[start:][better] = k
            costs[s, t], choices[s, t] = best, choice
    return costs, choices


def _take(
    best: NDArray[np.int64],
    choice: NDArray[np.int32],
    s: int,
    rest: NDArray[np.int64],
    cost: int,
    saved: int,
    least: int,
) -> None:
    """Block s runs and saves: the rest has that much less."""
    start = max(saved, least)
    if start < len(best):
        sums = rest[start - saved : len(best) - saved] + cost
        feasible = sums < _NEVER
        best[start:][feasible] = sums[feasible]
        choice[start:][feasible] = s


def _write(
    stages: list[_Stage],
    chain: list[Block],
    choices: dict[tuple[int, int], NDArray[np.int32]],
    s: int,
    t: int,
    slots: int,
    steps: list[int],
) -> None:
    choice = int(choices[s, t][slots])
    if choice == s:
        steps.extend(stages[s].kept)
        if s < t:
            _write(stages, chain, choices, s + 1, t, slots - stages[s].saved, steps)
        steps.extend(chain[s].backward)
        return
    for k in range(s, choice):
        steps.extend(stages[k].passed)
    _write(stages, chain, choices, choice, t, slots - stages[choice - 1].output, steps)
    _write(stages, chain, choices, s, choice - 1, slots, steps)


def _with_first(problem: Problem, steps: list[int]) -> tuple[int, ...]:
    """Add what nobody needs, once: right behind its operands."""
    missing = set(range(problem.count)) - set(steps)
    sequence: list[int] = []
    done: set[int] = set()
    for step in steps:
        sequence.append(step)
        done.add(step)
        for o in sorted(missing):
            if all(read in done for read in problem.inputs[o]):
                sequence.append(o)
                done.add(o)
                missing.discard(o)
    return tuple(sequence)


def _stage(problem: Problem, block: Block, slot: int) -> _Stage:
    output = {block.output} if block.output is not None else set()
    # Gradients that are there when the backward of the block begins, or ends.
    entering = _live_at(problem, block.backward[0]) if block.backward else frozenset()
    passed = _leading_to(problem, block.forward, output)
    kept = _leading_to(problem, block.forward, output | block.saved)

    def slots(size_bytes: int) -> int:
        return -(-size_bytes // slot)

    def total(operations: set[int] | frozenset[int]) -> int:
        return sum(problem.sizes_bytes[o] for o in operations)

    return _Stage(
        passed,
        kept,
        slots(total(output)),
        slots(total(output | block.saved)),
        slots(_forward_peak(problem, passed, output)),
        slots(_forward_peak(problem, kept, output | block.saved)),
        slots(_backward_peak(problem, block)),
        slots(total(entering)),
        sum(problem.costs[o] for o in passed),
        sum(problem.costs[o] for o in kept),
    )


def _leading_to(problem: Problem, within: tuple[int, ...], wanted: set[int]) -> tuple[int, ...]:
    needed = set(wanted)
    for o in reversed(within):
        if o in needed:
            needed.update(problem.inputs[o])
    return tuple(o for o in within if o in needed)


def _forward_peak(problem: Problem, run: tuple[int, ...], wanted: set[int]) -> int:
    """Return the peak of what ``run`` produces; ``wanted`` stays."""
    own = set(run)
    live = peak = 0
    for step, o in enumerate(run):
        live += problem.sizes_bytes[o]
        peak = max(peak, live)
        later = {read for other in run[step + 1 :] for read in problem.inputs[other]}
        for done in (o, *problem.inputs[o]):
            if done in own and done not in wanted and done not in later:
                live -= problem.sizes_bytes[done]
                own.discard(done)
    return peak


def _live_at(problem: Problem, operation: int) -> frozenset[int]:
    """Return the backward results that are there right before a backward operation."""
    return frozenset(
        o
        for o in range(operation)
        if not problem.forward[o] and max(problem.readers[o], default=-1) >= operation
    )


def _backward_peak(problem: Problem, block: Block) -> int:
    """Return the peak of gradients and of what the block saved, during its backward."""
    peak = 0
    for j in block.backward:
        gradients = sum(problem.sizes_bytes[o] for o in _live_at(problem, j))
        held = sum(
            problem.sizes_bytes[o]
            for o in block.saved
            if any(reader in block.backward and reader >= j for reader in problem.readers[o])
        )
        peak = max(peak, gradients + held + problem.sizes_bytes[j])
    return peak
