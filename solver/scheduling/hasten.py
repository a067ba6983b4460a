"""Spend bytes that are left on time: faster ways for a schedule, as far as it still fits.

Strips and other thrifty ways cost time, and a start takes them everywhere.  Annealing does not undo
those that cover updates.  Here the ways are put back one after the other, first where that saves
most; the operations that are then needed follow from the ways.
"""

from __future__ import annotations

from memplan.solver.clock import Clock
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.orders import list_schedule
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule

__all__ = ["hastened"]

Steps = tuple[tuple[int, int], ...]

#: What deriving and measuring one schedule takes, per step; measured.
_SECONDS_PER_STEP = 1e-5


def hastened(
    table: Table, schedule: Schedule, limit_bytes: int, until: float, clock: Clock
) -> Steps | None:
    """Return a faster schedule within the limit, in which nothing runs twice; None: none was found.

    Args:
        schedule: one that fits; if operations run twice in it, only their ways are taken over.
    """
    fast = fastest_ways(table)
    ways = fast | dict(schedule)
    best = _fitting(table, ways, limit_bytes)
    if best is None:
        return None
    improved = True
    while improved:
        improved = False
        slow = [work for work, way in best if work in fast and way != fast[work]]
        slow.sort(
            key=lambda work: table.time_ns[work][fast[work]] - table.time_ns[work][ways[work]]
        )
        for work in slow:
            if clock.over(until):
                return best
            trial = ways | {work: fast[work]}
            for covered in table.covers[work][ways[work]]:
                trial[covered] = fast[covered]
            found = _fitting(table, trial, limit_bytes)
            clock.spend(_SECONDS_PER_STEP * len(best))
            if found is not None and table.trip_time_ns(found) < table.trip_time_ns(best):
                ways, best, improved = trial, found, True
    return best


def _fitting(table: Table, ways: dict[int, int], limit_bytes: int) -> Steps | None:
    """Return what the ways need, in an order that fits, or None."""
    traced = tuple(needed_schedule(table, ways))
    for order in (traced, list_schedule(table, traced)):
        peak = live_peak(table, order)
        if peak is not None and peak <= limit_bytes and table.within_compute(order):
            return order
    return None
