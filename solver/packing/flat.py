"""A packing problem as arrays, in its largest unit and its fewest sections."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memplan.ir.units import align_up
from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.rectangle import Rectangle

__all__ = ["Flat", "Integers", "flatten"]

Integers = NDArray[np.int64]


class Flat(NamedTuple):
    """Buffers by index; sizes and offsets in ``unit`` bytes, times in sections.

    A section is a stretch of time whose set of live buffers is in no other section's.  Two
    buffers meet in time exactly if they share a section.
    """

    #: Buffer i lives in sections [first[i], last[i]).
    first: Integers
    last: Integers
    #: Rounded up to what all alignments have in common, as the space below the next buffer is.
    size: Integers
    alignment: Integers
    #: Buffer i meets neighbour[start[i] : start[i + 1]].
    start: Integers
    neighbour: Integers
    sections: int
    unit: int

    def highest(self, rectangles: Sequence[Rectangle], capacity: int) -> Integers:
        """Return the highest offset of each buffer, in units, within ``capacity`` bytes.

        Negative where a buffer is larger than the capacity.
        """
        steps = self.alignment * self.unit
        sizes = np.array([r.size for r in rectangles], dtype=np.int64)
        return (capacity - sizes) // steps * self.alignment


def flatten(rectangles: Sequence[Rectangle], alignments: Sequence[int]) -> Flat:
    """Return the arrays of ``rectangles``, each at multiples of its own alignment."""
    common = gcd(*alignments)
    sizes = [align_up(rectangle.size, common) for rectangle in rectangles]
    unit = gcd(*sizes, *alignments) if set(alignments) != {1} else gcd(*sizes)
    if set(alignments) == {1}:
        alignments = [unit] * len(sizes)  # every offset is a sum of sizes
    moments = _maximal_sections(rectangles)
    first = np.searchsorted(moments, [r.start for r in rectangles]).astype(np.int64)
    last = np.searchsorted(moments, [r.end for r in rectangles]).astype(np.int64)
    start, neighbour = _meetings(first, last, np.argsort(first, kind="stable"))
    return Flat(
        first=first,
        last=last,
        size=np.array(sizes, dtype=np.int64) // unit,
        alignment=np.array(alignments, dtype=np.int64) // unit,
        start=start,
        neighbour=neighbour,
        sections=len(moments),
        unit=unit,
    )


def _maximal_sections(rectangles: Sequence[Rectangle]) -> list[int]:
    """Return one moment of each section: starts after which something ends before a start."""
    events = sorted({(r.start, 1) for r in rectangles} | {(r.end, 0) for r in rectangles})
    return [moment for (moment, starts), (_, also) in pairwise(events) if starts and not also]


@compiled
def _meetings(first: Integers, last: Integers, by_first: Integers) -> tuple[Integers, Integers]:
    """Return (start, neighbour) as in ``Flat``."""
    count = len(first)
    start = np.zeros(count + 1, np.int64)
    live = np.empty(count, np.int64)
    neighbour = np.empty(0, np.int64)
    filled = np.zeros(count, np.int64)
    for is_filling in range(2):  # first they are counted
        living = 0
        for i in by_first:
            kept = 0
            for place in range(living):
                j = live[place]
                if last[j] > first[i]:
                    live[kept] = j
                    kept += 1
                    if is_filling:
                        neighbour[start[i] + filled[i]] = j
                        neighbour[start[j] + filled[j]] = i
                    filled[i] += 1
                    filled[j] += 1
            live[kept] = i
            living = kept + 1
        if not is_filling:
            for i in range(count):
                start[i + 1] = start[i] + filled[i]
                filled[i] = 0
            neighbour = np.empty(start[count], np.int64)
    return start, neighbour
