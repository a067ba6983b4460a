"""Rectangles, and the bound that every packing of them obeys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Rectangle", "clique_bound", "height", "overlapping"]


class Rectangle(NamedTuple):
    """``size`` bytes that are needed over the half-open lifetime [start, end)."""

    start: int
    end: int
    size: int


def clique_bound(rectangles: Sequence[Rectangle]) -> int:
    """Return the peak of live bytes: no packing is lower."""
    change: dict[int, int] = {}
    for start, end, size in rectangles:
        change[start] = change.get(start, 0) + size
        change[end] = change.get(end, 0) - size
    peak = live = 0
    for time in sorted(change):
        live += change[time]
        peak = max(peak, live)
    return peak


def height(rectangles: Sequence[Rectangle], offsets: Sequence[int]) -> int:
    """Return the highest end of any rectangle."""
    return max((o + r.size for o, r in zip(offsets, rectangles, strict=True)), default=0)


def overlapping(rectangles: Sequence[Rectangle]) -> list[list[int]]:
    """Return for each rectangle those whose lifetimes intersect its own."""
    neighbours: list[list[int]] = [[] for _ in rectangles]
    order = sorted(range(len(rectangles)), key=lambda i: rectangles[i].start)
    active: list[int] = []
    for i in order:
        start = rectangles[i].start
        active = [j for j in active if rectangles[j].end > start]
        for j in active:
            neighbours[i].append(j)
            neighbours[j].append(i)
        active.append(i)
    return neighbours
