"""Schedules that keep what crosses the borders of segments, and run segments again.

Chen et al. (2016): of a long forward pass, keep what is read across a few borders; as the backward
pass comes to a segment, run that again.  With two levels of borders a segment is run again from one
inner border to the next: fewer bytes, for one more forward pass.  On chains of equal steps, such as
recurrent networks, everything is alike, and neither scores nor minimum cuts find a structure; this
is one.  What the limit does not need of it is left out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search.leave_out import with_less_recomputed
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.ways import without_unread

__all__ = ["run_again_by_segments", "schedules_of_segments"]

Steps = tuple[tuple[int, int], ...]

#: Segments of equal bytes, the likeliest numbers first: about a square root of two apart.
_COUNTS = (8, 16, 4, 11, 6, 23, 3, 32, 2, 45)
#: Segments within each; the second level only where nothing of the first fits.
_LEVELS: tuple[tuple[int, ...], ...] = ((1,), (2, 3, 4))
_ORDERS = 2
#: Of what fits, so many of the fastest and of the smallest are made to recompute no more than the
#: limit asks for: the more bytes are spared, the better what is spared can be chosen.
_MOST_IMPROVED = 4
#: Part of the limit: where live bytes just fit, addresses seldom do.
_AIM = 0.995
#: Of one schedule and its measurement, per step of the order; measured.
_SECONDS_PER_STEP = 5e-6


def schedules_of_segments(
    table: Table,
    orders: Sequence[Steps],
    limit_bytes: int,
    until: float,
    clock: Clock = WALL,
) -> list[Steps]:
    """Return schedules along the first orders, with as little recomputed as the limit allows.

    Where none fits, that of the fewest live bytes comes as it is.  What is begun when the clock
    reaches ``until`` may take as long again.
    """
    last = until + (until - clock.now())
    aim = int(_AIM * limit_bytes)
    least: tuple[int, Steps] | None = None
    for level in _LEVELS:
        fitting: dict[Steps, tuple[int, int]] = {}
        for order in orders[:_ORDERS]:
            for count in _COUNTS:
                for inner in level:
                    if clock.over(until):
                        break
                    clock.spend(_SECONDS_PER_STEP * len(order))
                    again = run_again_by_segments(table, order, count, inner)
                    steps = tuple(without_unread(table, again))
                    peak = live_peak(table, steps)
                    if peak is None:
                        continue
                    if peak <= aim:
                        time_ns = table.trip_time_ns(steps)
                        fitting[steps] = time_ns, peak
                    if least is None or peak < least[0]:
                        least = peak, steps
        fastest = sorted(fitting, key=lambda steps: fitting[steps])[:_MOST_IMPROVED]
        smallest = sorted(fitting, key=lambda steps: fitting[steps][::-1])[:_MOST_IMPROVED]
        chosen = dict.fromkeys(one for pair in zip(smallest, fastest, strict=True) for one in pair)
        if chosen:
            return [
                with_less_recomputed(table, steps, aim, last, clock)
                for number, steps in enumerate(chosen)
                if not number or not clock.over(until)
            ]
    return [] if least is None else [least[1]]


def run_again_by_segments(
    table: Table, order: Steps, count: int, inner: int = 1
) -> list[tuple[int, int]]:
    """Return the order, in which what does not cross a border runs again when it is needed.

    Args:
        count: segments of the forward pass, of about equal bytes.
        inner: segments within each.
    """
    segments = _Segments.of(table, order, count, inner)
    works, way_of = table.instance.works, dict(order)
    steps: list[tuple[int, int]] = []
    ran: set[int] = set()
    #: What is there at the segment that is run or read, ``at``.
    present = {item for item, size in enumerate(table.size) if not size}
    at = 0

    def go_to(segment: int) -> None:
        nonlocal at, present
        if segment != at:
            at = segment
            present = {item for item in present if segments.stays(item, at)}

    def add(work: int) -> None:
        steps.append((work, way_of[work]))
        present.update(item for item in table.writes[work] if segments.stays(item, at))

    for work, way in order:
        if works[work].recomputable:
            for item in table.writes[work]:
                ran.add(item)
                go_to(segments.of_item[item])
        else:
            for item in table.reads[work][way]:
                if item in ran and item not in present:
                    go_to(segments.of_item[item])
                    for again in _what_leads_to(table, way_of, item, ran, present):
                        add(again)
        add(work)
    return steps


def _what_leads_to(
    table: Table, way_of: Mapping[int, int], item: int, ran: Set[int], present: Set[int]
) -> list[int]:
    """Return the works that compute an item again from what is present, in order."""
    works: list[int] = []
    missing, passing = [item], set[int]()
    while missing:
        last = missing[-1]
        if last in present or last in passing:
            missing.pop()
            continue
        producer = table.producer[last]
        before = [
            operand
            for operand in table.reads[producer][way_of[producer]]
            if operand in ran and operand not in present and operand not in passing
        ]
        if before:
            missing += before
            continue
        works.append(producer)
        passing.update(table.writes[producer])
    return works


@dataclass(frozen=True)
class _Segments:
    """Which inner segment each item of the forward pass is of, and what crosses borders."""

    of_item: dict[int, int]
    inner: int
    outer: frozenset[int]
    crossing: frozenset[int]

    @classmethod
    def of(cls, table: Table, order: Steps, count: int, inner: int) -> _Segments:
        works, size = table.instance.works, table.size
        again = [(work, way) for work, way in order if works[work].recomputable]
        whole = max(1, sum(size[item] for work, _ in again for item in table.writes[work]))
        of_item: dict[int, int] = {}
        outer, crossing = set[int](), set[int]()
        bytes_before = 0
        for work, way in again:
            segment = min(count * inner - 1, bytes_before * count * inner // whole)
            for item in table.writes[work]:
                of_item[item] = segment
                bytes_before += size[item]
            for item in table.reads[work][way]:
                read = of_item.get(item, segment)
                if read < segment:
                    crossing.add(item)
                if read // inner < segment // inner:
                    outer.add(item)
        return cls(of_item, inner, frozenset(outer), frozenset(crossing))

    def stays(self, item: int, at: int) -> bool:
        """Tell whether an item is kept once it is there, while inner segment ``at`` is read."""
        if item in self.outer or item not in self.of_item:
            return True
        segment = self.of_item[item]
        return segment == at or (
            segment // self.inner == at // self.inner and item in self.crossing
        )
