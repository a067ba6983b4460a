"""Placing rectangles one after the other, each as low as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from memplan.ir.units import align_up
from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Flat, Integers
from memplan.solver.packing.rectangle import Rectangle

__all__ = ["ORDERS", "improve_order", "lowest_fit", "lowest_fit_of"]

#: Sort keys that have been found to work on training schedules, the best first.
ORDERS: dict[str, Callable[[Rectangle], tuple[int, ...]]] = {
    "size": lambda r: (-r.size, r.start - r.end),
    "size_end": lambda r: (-r.size, -r.end),  # equal sizes alone then take no more than they must
    "area": lambda r: (-r.size * (r.end - r.start), -r.size),
    "lifetime": lambda r: (r.start - r.end, -r.size),  # Melon's lifetime-aware pool
    "lifetime_size": lambda r: (-r.size * (r.end - r.start) ** 2, -r.size),
    "start": lambda r: (r.start, -r.size),
}

#: What ends too high moves ahead by so much of the order, on average.
_BLAME = 0.03
#: What ``lowest_fit_of`` takes, measured.
_SECONDS_PER_NEIGHBOUR = 2e-8


def lowest_fit(
    rectangles: Sequence[Rectangle],
    neighbours: Sequence[Sequence[int]],
    order: Sequence[int],
    alignments: Sequence[int] | None = None,
) -> list[int]:
    """Return offsets: rectangles in ``order``, each at the lowest (aligned) offset that is free."""
    offsets = [-1] * len(rectangles)
    for i in order:
        size = rectangles[i].size
        placed = sorted(
            (offsets[j], offsets[j] + rectangles[j].size) for j in neighbours[i] if offsets[j] >= 0
        )
        lowest = 0
        for bottom, top in placed:
            if bottom - lowest >= size:
                break
            lowest = max(lowest, top if alignments is None else align_up(top, alignments[i]))
        offsets[i] = lowest
    return offsets


@compiled
def lowest_fit_of(flat: Flat, order: Integers) -> Integers:
    """Return the same in units of ``flat``, in machine code."""
    offsets = np.full(len(order), -1, np.int64)
    bottoms = np.empty(len(order), np.int64)
    tops = np.empty(len(order), np.int64)
    for i in order:
        count = 0
        for k in range(flat.start[i], flat.start[i + 1]):
            j = flat.neighbour[k]
            if offsets[j] >= 0:
                bottoms[count], tops[count] = offsets[j], offsets[j] + flat.size[j]
                count += 1
        lowest = 0
        for place in np.argsort(bottoms[:count]):
            if bottoms[place] - lowest >= flat.size[i]:
                break
            end = -(-tops[place] // flat.alignment[i]) * flat.alignment[i]
            lowest = max(lowest, end)
        offsets[i] = lowest
    return offsets


def improve_order(
    rectangles: Sequence[Rectangle],
    flat: Flat,
    order: Sequence[int],
    limit: int,
    until: float,
    seed: int,
    clock: Clock = WALL,
) -> list[int]:
    """Search over orders: whatever ends above the limit moves ahead, each by a random way.

    Squeaky wheel optimization (Joslin and Clements, 1999): what is hard to place is placed earlier
    next time, and never moves back.  Returns offsets in bytes, the lowest found; stops at
    ``limit``, or when the clock reaches ``until``.
    """
    draw = np.random.default_rng(seed)
    work = _SECONDS_PER_NEIGHBOUR * (len(flat.neighbour) + 20 * len(order))
    sizes = np.array([rectangle.size for rectangle in rectangles], dtype=np.int64)
    urgency = np.zeros(len(order))
    urgency[np.array(order, dtype=np.int64)] = -np.arange(len(order), dtype=np.float64)
    best, best_height = np.zeros(len(order), np.int64), -1
    while True:
        offsets = lowest_fit_of(flat, np.argsort(-urgency, kind="stable")) * flat.unit
        tops = offsets + sizes
        if best_height < 0 or tops.max() < best_height:
            best, best_height = offsets, int(tops.max())
        if best_height <= limit or clock.over(until):
            return [int(offset) for offset in best]
        clock.spend(work)
        urgency += (tops > limit) * draw.exponential(_BLAME * len(order), len(order))
