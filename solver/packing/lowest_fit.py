"""Placing rectangles one after the other, each as low as it goes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from memplan.ir.units import align_up
from memplan.solver.clock import WALL, Clock
from memplan.solver.packing.rectangle import Rectangle, height

__all__ = ["ORDERS", "improve_order", "lowest_fit"]

#: Sort keys that have been found to work on training schedules, the best first.
ORDERS: dict[str, Callable[[Rectangle], tuple[int, ...]]] = {
    "size": lambda r: (-r.size, r.start - r.end),
    "area": lambda r: (-r.size * (r.end - r.start), -r.size),
    "lifetime": lambda r: (r.start - r.end, -r.size),  # Melon's lifetime-aware pool
    "lifetime_size": lambda r: (-r.size * (r.end - r.start) ** 2, -r.size),
    "start": lambda r: (r.start, -r.size),
}

#: What ``lowest_fit`` takes, measured.
_SECONDS_PER_NEIGHBOUR = 2.5e-7


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


def improve_order(
    rectangles: Sequence[Rectangle],
    neighbours: Sequence[Sequence[int]],
    order: Sequence[int],
    limit: int,
    until: float,
    seed: int,
    clock: Clock = WALL,
    alignments: Sequence[int] | None = None,
) -> list[int]:
    """Search over orders: move a rectangle that touches the top, or one under it, earlier.

    Returns offsets, the lowest found; stops at ``limit``, or when the clock
    reaches ``until``.
    """
    chance = random.Random(seed)
    work = _SECONDS_PER_NEIGHBOUR * sum(len(others) + 1 for others in neighbours)
    best_order = list(order)
    best = lowest_fit(rectangles, neighbours, best_order, alignments)
    best_height = height(rectangles, best)
    current_height = best_height
    current_order, current = best_order, best
    while best_height > limit and not clock.over(until):
        clock.spend(work)
        tops = [i for i, r in enumerate(rectangles) if current[i] + r.size >= current_height]
        moved = chance.choice(tops)
        if chance.random() < 0.5 and neighbours[moved]:
            moved = chance.choice(list(neighbours[moved]))
        trial = [i for i in current_order if i != moved]
        place = current_order.index(moved)
        trial.insert(chance.randrange(place + 1), moved)
        offsets = lowest_fit(rectangles, neighbours, trial, alignments)
        top = height(rectangles, offsets)
        if top <= current_height or chance.random() < 0.02:
            current_order, current, current_height = trial, offsets, top
        if top < best_height:
            best, best_height = offsets, top
    return best
