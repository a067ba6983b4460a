"""The order in which packing techniques are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from memplan.solver.clock import WALL, Clock
from memplan.solver.packing.exact import no_overlap
from memplan.solver.packing.lowest_fit import ORDERS, improve_order, lowest_fit
from memplan.solver.packing.rectangle import Rectangle, clique_bound, height, overlapping

__all__ = ["Packing", "pack"]


@dataclass(frozen=True, slots=True)
class Packing:
    """Offsets of rectangles, and how high they reach."""

    offsets: tuple[int, ...]
    height: int


def pack(
    rectangles: Sequence[Rectangle],
    limit: int | None = None,
    *,
    seconds: float = 0.0,
    seed: int = 0,
    workers: int = 1,
    exact: bool = True,
    clock: Clock = WALL,
) -> Packing:
    """Return offsets for ``rectangles``, as low as is found.

    Sort orders with lowest fit come first, then a local search over orders, then CP-SAT, until
    the height is within ``limit`` (None: at the peak of live bytes, which is the least possible)
    or ``seconds`` are used up.
    """
    if not rectangles:
        return Packing((), 0)
    goal = clique_bound(rectangles)
    limit = goal if limit is None else max(limit, goal)
    began = clock.now()
    neighbours = overlapping(rectangles)
    best: list[int] = []
    best_height = best_order = None
    for key in ORDERS.values():
        keys = [key(rectangle) for rectangle in rectangles]
        order = sorted(range(len(rectangles)), key=keys.__getitem__)
        offsets = lowest_fit(rectangles, neighbours, order)
        top = height(rectangles, offsets)
        if best_height is None or top < best_height:
            best, best_height, best_order = offsets, top, order
        if best_height <= limit:
            break
    assert best_height is not None and best_order is not None
    if best_height > limit and seconds > 0:
        midway = clock.now() + seconds * (0.5 if exact else 1.0)
        offsets = improve_order(rectangles, neighbours, best_order, limit, midway, seed, clock)
        if height(rectangles, offsets) < best_height:
            best, best_height = offsets, height(rectangles, offsets)
    left = began + seconds - clock.now()
    if best_height > limit and exact and left > 0.05 and not clock.stop():
        unit = gcd(*(r.size for r in rectangles))
        found, _ = no_overlap(rectangles, limit, unit, left, seed, workers, clock=clock)
        if found is not None:
            best, best_height = found, height(rectangles, found)
    return Packing(tuple(best), best_height)
