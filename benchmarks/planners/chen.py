"""Chen et al. (2016), sqrt(n): keep what crosses the borders of segments, run the rest again.

Their rule is for chains: of n forward layers keep every sqrt(n)-th, and run each segment again when
its backward begins; the last segment is kept.  On other graphs the same is done to the topological
order of the forward operations: every result that crosses a border, and is read by the forward pass
behind it, is kept.  So a segment can always run again from what is there.  ``chen_greedy`` is the
paper's second algorithm: segments close where they hold a number of bytes, which is searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isqrt

from benchmarks.planners.answer import Attempt, cheapest
from benchmarks.planners.problem import Problem, simulate

__all__ = ["chen", "chen_greedy", "segmented"]

#: As many segment sizes, in bytes, are tried.
_SIZES = 60


def chen(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Return the plan of sqrt(n) segments, whatever the budget is."""
    forward = [o for o in range(problem.count) if problem.forward[o]]
    length = max(1, isqrt(max(0, len(forward) - 1)) + 1)
    starts = forward[::length]
    return Attempt(segmented(problem, starts))


def chen_greedy(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Return the cheapest plan that fits, over sizes of segments in bytes."""
    forward = [o for o in range(problem.count) if problem.forward[o]]
    total = sum(problem.sizes_bytes[o] for o in forward)
    seen: set[tuple[int, ...]] = set()
    for step in range(1, _SIZES + 1):
        limit = ceil(total * step / _SIZES)
        starts: list[int] = []
        held = 0
        for o in forward:
            if not starts or held + problem.sizes_bytes[o] > limit:
                starts.append(o)
                held = 0
            held += problem.sizes_bytes[o]
        seen.add(tuple(starts))
    candidates = [segmented(problem, starts) for starts in sorted(seen)]
    best = cheapest(problem, candidates, budget_bytes)
    if best is None:
        best = min(candidates, key=lambda c: simulate(problem, c).peak_bytes)
    return Attempt(best)


def segmented(problem: Problem, starts: Sequence[int]) -> tuple[int, ...]:
    """Return the sequence that runs each forward segment but the last again, as a whole.

    Args:
        problem: its operations.
        starts: first operation of each segment, in order.
    """
    segment_of: dict[int, int] = {}
    current = -1
    for o in range(problem.count):
        if current + 1 < len(starts) and o == starts[current + 1]:
            current += 1
        if problem.forward[o]:
            segment_of[o] = current
    last = len(starts) - 1
    kept = {
        o
        for o, segment in segment_of.items()
        if segment == last
        or any(segment_of.get(reader, segment) > segment for reader in problem.readers[o])
    }
    wanted = _wanted(problem, kept)
    present = set(kept)
    sequence: list[int] = []
    for o in range(problem.count):
        if o not in segment_of:
            for read in problem.inputs[o]:
                if read in segment_of and read not in present:
                    mine = segment_of[read]
                    again = [v for v, s in segment_of.items() if s == mine and v in wanted]
                    sequence += again
                    present.update(again)
        sequence.append(o)
    return tuple(sequence)


def _wanted(problem: Problem, kept: set[int]) -> set[int]:
    """Return what is run again: what the backward reads and is not kept, and what leads to it."""
    wanted: set[int] = set()
    for o in range(problem.count - 1, -1, -1):
        if problem.forward[o] and o not in kept:
            readers = problem.readers[o]
            if any(not problem.forward[r] or r in wanted for r in readers):
                wanted.add(o)
    return wanted
