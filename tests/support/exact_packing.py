"""Exact minimal packing of a few rectangles: lifetimes given, aligned addresses wanted.

Every buffer starts at a multiple of the alignment, so what it keeps from others is its size
rounded up; the height is the highest end, not rounded.  Pushing every buffer down as far as it
goes never raises an end, so some optimum has each buffer at 0 or on top of one that it meets in
time.  Placed in the order of offsets, each then stands at the highest rounded end of what it
meets among those placed before: the search below tries all such orders.
"""

from __future__ import annotations

from itertools import permutations
from random import Random

__all__ = [
    "Rectangle",
    "Search",
    "lower_bound",
    "min_height",
    "min_height_by_permutations",
    "offsets",
]

#: (start_step, end_step, size_bytes)
Rectangle = tuple[int, int, int]


def round_up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def lower_bound(rectangles: tuple[Rectangle, ...], alignment: int) -> int:
    """Return what the fullest step needs: all rounded up but the one on top."""
    best = 0
    for moment in {start for start, _, _ in rectangles}:
        live = [size for start, end, size in rectangles if start <= moment < end]
        slack = max(round_up(size, alignment) - size for size in live)
        best = max(best, sum(round_up(size, alignment) for size in live) - slack)
    return best


def min_height(rectangles: tuple[Rectangle, ...], alignment: int, below: int = 2**62) -> int | None:
    """Return the least height in which the rectangles can be packed, if less than ``below``."""
    packed = _pack(_canonical(rectangles), alignment, below)
    return None if packed is None else packed[0]


def offsets(rectangles: tuple[Rectangle, ...], alignment: int) -> tuple[int, ...]:
    """Return offsets of a packing of least height."""
    canonical = _canonical(rectangles)
    packed = _pack(canonical, alignment, 2**62)
    assert packed is not None
    found: dict[Rectangle, list[int]] = {}
    for rectangle, offset in zip(canonical, packed[1], strict=True):
        found.setdefault(rectangle, []).append(offset)
    moments = _moments(rectangles)
    return tuple(
        found[moments[a], moments[b], size].pop() if size else 0 for a, b, size in rectangles
    )


def _moments(rectangles: tuple[Rectangle, ...]) -> dict[int, int]:
    ends = sorted({t for start, end, size in rectangles if size for t in (start, end)})
    return {t: place for place, t in enumerate(ends)}


def _canonical(rectangles: tuple[Rectangle, ...]) -> tuple[Rectangle, ...]:
    """Return the rectangles that take bytes, sorted, in few moments; no others collide."""
    moments = _moments(rectangles)
    return tuple(sorted((moments[a], moments[b], size) for a, b, size in rectangles if size))


#: Per packing problem the best that was found, if any, and the height that is proven.
_known: dict[tuple[tuple[Rectangle, ...], int], tuple[tuple[int, tuple[int, ...]] | None, int]] = {}


def _pack(
    rectangles: tuple[Rectangle, ...], alignment: int, below: int
) -> tuple[int, tuple[int, ...]] | None:
    """Return (least height, offsets) if it is less than ``below``."""
    key = (rectangles, alignment)
    packed, proven = _known.get(key, (None, lower_bound(rectangles, alignment)))
    if not rectangles:
        return 0, ()
    if packed is None and proven < below:
        packed = Search(rectangles, alignment, proven, below).run()
        proven = below if packed is None else packed[0]
        _known[key] = (packed, proven)
    return packed if packed is not None and packed[0] < below else None


class Search:
    """Depth-first search over the order of offsets, with three reasons to turn back.

    * In some moment what is not placed yet does not fit below the best height.
    * Another buffer fits entirely below the next one, beside what is placed: it may as well go
      first, as all that follows stands higher.
    * Of equal buffers the first goes first.
    """

    def __init__(
        self, rectangles: tuple[Rectangle, ...], alignment: int, bound: int, below: int
    ) -> None:
        count = len(rectangles)
        self.bound = bound
        self.best = below
        self.found: tuple[int, ...] | None = None
        self.sizes = [size for _, _, size in rectangles]
        self.rounded = [round_up(size, alignment) for size in self.sizes]
        # Large and long ones first find good packings early; any order would be right.
        self.order = sorted(
            range(count), key=lambda i: (-self.sizes[i], rectangles[i][0] - rectangles[i][1], i)
        )
        self.meets = [
            [
                j
                for j in range(count)
                if j != i
                and rectangles[i][0] < rectangles[j][1]
                and rectangles[j][0] < rectangles[i][1]
            ]
            for i in range(count)
        ]
        # The rectangles are sorted, so equal ones are neighbours.
        self.twin = [
            i - 1 if i and rectangles[i - 1] == rectangles[i] else None for i in range(count)
        ]
        self.moments = [
            [i for i in range(count) if rectangles[i][0] <= moment < rectangles[i][1]]
            for moment in sorted({start for start, _, _ in rectangles})
        ]
        self.place = [-1] * count

    def run(self, guess: bool = True) -> tuple[int, tuple[int, ...]] | None:
        if not (guess and self._guess()):
            self._search([0] * len(self.sizes), (-1, -1), 0, len(self.sizes))
        return None if self.found is None else (self.best, self.found)

    def _guess(self) -> bool:
        """Try some orders with first fit; tell whether one reaches the bound."""
        random = Random(0)
        order = self.order.copy()
        for attempt in range(60):
            if attempt:
                noise = [size * random.uniform(0.3, 1.0) for size in self.sizes]
                order.sort(key=noise.__getitem__, reverse=True)
            place = [-1] * len(self.sizes)
            for i in order:
                offset = 0
                taken = [(place[j], place[j] + self.rounded[j]) for j in self.meets[i]]
                for first, end in sorted(t for t in taken if t[0] >= 0):
                    if offset + self.rounded[i] <= first:
                        break
                    offset = max(offset, end)
                place[i] = offset
            height = max(o + size for o, size in zip(place, self.sizes, strict=True))
            if height < self.best:
                self.best, self.found = height, tuple(place)
                if height == self.bound:
                    return True
        return False

    def _search(self, lowest: list[int], last: tuple[int, int], height: int, left: int) -> bool:
        if not left:
            self.best, self.found = height, tuple(self.place)
            return height == self.bound
        floor = max(last[0], 0)
        if not self._can_fit(lowest, floor):
            return False
        place, sizes, rounded = self.place, self.sizes, self.rounded
        for rank, i in enumerate(self.order):
            if place[i] >= 0 or (lowest[i], rank) <= last or lowest[i] < floor:
                continue
            twin = self.twin[i]
            if twin is not None and place[twin] < 0:
                continue
            offset = lowest[i]
            if any(
                place[j] < 0 and max(lowest[j], floor) + rounded[j] <= offset for j in self.meets[i]
            ):
                continue
            place[i] = offset
            above = lowest.copy()
            for j in self.meets[i]:
                if place[j] < 0 and above[j] < offset + rounded[i]:
                    above[j] = offset + rounded[i]
            end = max(height, offset + sizes[i])
            if end < self.best and self._search(above, (offset, rank), end, left - 1):
                return True
            place[i] = -1
        return False

    def _can_fit(self, lowest: list[int], floor: int) -> bool:
        for together in self.moments:
            waiting = [i for i in together if self.place[i] < 0]
            if waiting:
                need = max(min(lowest[i] for i in waiting), floor)
                need += sum(self.rounded[i] for i in waiting)
                need -= max(self.rounded[i] - self.sizes[i] for i in waiting)
                if need >= self.best:
                    return False
        return True


def min_height_by_permutations(rectangles: tuple[Rectangle, ...], alignment: int) -> int:
    """Return the same by trying every order, for the test of the search."""
    best = sum(round_up(size, alignment) for _, _, size in rectangles)
    for order in permutations(rectangles):
        placed: list[tuple[Rectangle, int]] = []
        for rectangle in order:
            offset = 0
            for other, below in placed:
                if rectangle[0] < other[1] and other[0] < rectangle[1]:
                    offset = max(offset, below + round_up(other[2], alignment))
            placed.append((rectangle, offset))
        best = min(best, max((offset + r[2] for r, offset in placed), default=0))
    return best
