"""What plans of other micro-batches must take, along the incumbent's line carried over to them.

Without it they are bounded as if there were room for everything, which is less than any plan takes
that must compute something again.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.solver.pursuit import OtherMicroBatches, Pursuit, Side
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.relaxation.timeline import Timeline, timeline_of
from memplan.solver.restrictions import OTHER_MICRO_BATCHES
from memplan.solver.scheduling.carry_over import carried_over
from memplan.solver.solution import Solution, plain_costs

__all__ = ["bound_others", "faster_sides", "least_time_of_others"]


def faster_sides(pursuit: Pursuit, sides: Sequence[Side], best: Solution) -> list[Side]:
    """Return other micro-batches that may be faster than the incumbent, as far as is known."""
    if not pursuit.techniques.other_micro_batches:
        return []
    mask = best.instance.mask()
    return [
        side
        for side in sides
        if side.samples != best.instance.samples and side.least_time_ns(mask) < best.worth.time_ns
    ]


def bound_others(pursuit: Pursuit, sides: Sequence[Side], line: Timeline, seconds: float) -> None:
    """Raise the bounds of other micro-batches up to the incumbent's time.

    Args:
        line: the incumbent's.
    """
    best = pursuit.best
    if best is None:
        return
    until = pursuit.clock.now() + seconds
    known = pursuit.other_micro_batches
    if known is None or known.line != line:
        known = pursuit.other_micro_batches = OtherMicroBatches(line)
    faster = faster_sides(pursuit, sides, best)
    for number, side in enumerate(faster):
        left = (until - pursuit.clock.now()) / (len(faster) - number)
        if left <= 0:
            break
        if side.samples not in known.bounds:
            known.bounds[side.samples] = _bound_of(pursuit, side, best)
        bound = known.bounds[side.samples]
        if bound is not None:
            outside_ns, trips = _outside(side, best)
            bound.sharpen(-(-(best.worth.time_ns - outside_ns) // trips), left, pursuit.clock)
            bound.take_schedules()


def least_time_of_others(
    pursuit: Pursuit, sides: Sequence[Side], best: Solution, line: Timeline
) -> tuple[int, list[str]]:
    """Return what every plan of another micro-batch takes at least, and what that supposes.

    Args:
        sides: two or more.
        line: the incumbent's.
    """
    mask = best.instance.mask()
    known = pursuit.other_micro_batches
    times: list[int] = []
    restrictions: list[str] = []
    for side in sides:
        if side.samples == best.instance.samples:
            continue
        own = side.least_time_ns(mask)
        bound = known.bounds.get(side.samples) if known and known.line == line else None
        if bound is not None:
            outside_ns, trips = _outside(side, best)
            along = outside_ns + trips * bound.trip_time_ns
            if along > own:
                own = along
                restrictions += [*bound.restrictions, OTHER_MICRO_BATCHES]
        times.append(own)
    return min(times), list(dict.fromkeys(restrictions))


def _outside(side: Side, best: Solution) -> tuple[int, int]:
    """Return the time of prologue and epilogue, and the number of trips."""
    instance = side.table(best.instance.mask()).instance
    outside_ns, _ = plain_costs(instance)
    return outside_ns, instance.trips


def _bound_of(pursuit: Pursuit, side: Side, best: Solution) -> RecomputationBound | None:
    table = side.table(best.instance.mask())
    carried = carried_over(best.table, best.schedule, table)
    line = None if carried is None else timeline_of(table, carried)
    return None if line is None else pursuit.bound_along(line, table.instance.room_bytes)
