"""One packing problem, and what the techniques share: arrays, neighbours, the proven bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from memplan.ir.units import align_up
from memplan.solver.packing.flat import Flat, flatten
from memplan.solver.packing.lowest_fit import ORDERS, lowest_fit, lowest_fit_of
from memplan.solver.packing.rectangle import Rectangle, clique_bound, height, overlapping

__all__ = ["Problem"]

#: Above so many rectangles lowest fit is worth the machine code, which takes a second to load.
_MANY = 400


@dataclass(frozen=True)
class Problem:
    """Rectangles of positive sizes, each to stand at a multiple of its alignment."""

    rectangles: tuple[Rectangle, ...]
    alignments: tuple[int, ...]

    @cached_property
    def flat(self) -> Flat:
        """The arrays of the compiled search."""
        return flatten(self.rectangles, self.alignments)

    @cached_property
    def neighbours(self) -> list[list[int]]:
        """For each rectangle those that it meets in time."""
        return overlapping(self.rectangles)

    @cached_property
    def bound(self) -> int:
        """Bytes that no packing is below: those live at once, rounded up to what all alignments
        have in common but for the one on top.
        """
        common = gcd(*self.alignments)
        if common == 1:
            return self.height_from(clique_bound(self.rectangles))
        best = 0
        for live in self._live():
            sizes = [self.rectangles[i].size for i in live]
            padded = [align_up(size, common) for size in sizes]
            spared = max((p - s for p, s in zip(padded, sizes, strict=True)), default=0)
            best = max(best, sum(padded) - spared)
        return self.height_from(best)

    def _live(self) -> Iterable[set[int]]:
        """Yield what is live at each moment at which something begins, once it all has."""
        events = sorted(
            [(r.end, 0, i) for i, r in enumerate(self.rectangles)]
            + [(r.start, 1, i) for i, r in enumerate(self.rectangles)]
        )
        live: set[int] = set()
        grown = False
        for _, begins, i in events:
            if begins:
                live.add(i)
                grown = True
            else:
                if grown:
                    yield live
                live.discard(i)
                grown = False

    def height_from(self, least: int) -> int:
        """Return the least height from ``least`` on that some rectangle's end can have."""
        return min(
            align_up(max(least - r.size, 0), step) + r.size
            for r, step in zip(self.rectangles, self._steps, strict=True)
        )

    @cached_property
    def _steps(self) -> list[int]:
        return [int(alignment) * self.flat.unit for alignment in self.flat.alignment]

    def sort_orders(self, limit: int) -> tuple[list[int], list[int]]:
        """Return (offsets, order) of the lowest of the sort orders, or the first within limit."""
        best: tuple[int, list[int], list[int]] | None = None
        for key in ORDERS.values():
            order = sorted(
                range(len(self.rectangles)), key=[*map(key, self.rectangles)].__getitem__
            )
            offsets = self.lowest_fit(order)
            top = height(self.rectangles, offsets)
            if best is None or top < best[0]:
                best = top, offsets, order
            if top <= limit:
                break
        assert best is not None
        return best[1], best[2]

    def lowest_fit(self, order: Sequence[int]) -> list[int]:
        """Return offsets: rectangles in this order, each as low as it goes."""
        if len(order) > _MANY:
            fitted = lowest_fit_of(self.flat, np.array(order, dtype=np.int64))
            return [int(offset) * self.flat.unit for offset in fitted]
        aligned = None if set(self.alignments) == {1} else self.alignments
        return lowest_fit(self.rectangles, self.neighbours, order, aligned)
