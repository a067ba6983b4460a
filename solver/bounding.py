"""Sharpen what is proved of time: for plans of every order, and along the incumbent's line."""

from __future__ import annotations

from memplan.solver.line_plans import offer_schedules
from memplan.solver.line_search import search_along
from memplan.solver.other_micro_batches import bound_others, faster_sides
from memplan.solver.proofs import is_proved, joined_proof, remember_proved, unrestricted_proof
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.relaxation.any_order_bound import MOST_BRANCHING
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.solution import plain_costs

__all__ = ["bound_every_order", "bound_time"]

#: Part of the time limit that bounding every order may take at a time.
_ANY_ORDER_SHARE = 0.1
#: Of a bound's time, what the incumbent's micro-batch gets where others may be faster.
_OWN_BOUND_SHARE = 0.6


def bound_time(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Sharpen the bounds on time: of every order, and along the incumbent's line.

    A bound of every order is worth more than it costs, but for the last of its programs: these
    come when all else is done.
    """
    until = pursuit.clock.now() + seconds
    most = _ANY_ORDER_SHARE * pursuit.request.time_limit_seconds
    bound_every_order(pursuit, sides, min(0.3 * seconds, most), briefly=True)
    _bound_recomputation(pursuit, sides, until - pursuit.clock.now())
    bound_every_order(pursuit, sides, min(until - pursuit.clock.now(), most))


def _bound_recomputation(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Sharpen the bound on time along the incumbent's line, unless it is proved the fastest."""
    best = pursuit.best
    if best is None or not pursuit.techniques.retention_bound or is_proved(pursuit, sides):
        return
    if unrestricted_proof(pursuit, sides).time_ns is None:
        return  # more importance may be had: time is not what is left to prove
    line = timeline_of(best.table, best.schedule)
    if line is None:
        return
    bound = pursuit.recomputation
    room = best.instance.room_bytes
    if bound is None or not bound.holds_for(line) or bound.limit_bytes != room:
        bound = pursuit.recomputation = pursuit.bound_along(line, room)
    pursuit.tell("bound on recomputation")
    until = pursuit.clock.now() + seconds
    search_along(pursuit, bound, seconds)
    own = until - pursuit.clock.now()
    if faster_sides(pursuit, sides, best):
        own *= _OWN_BOUND_SHARE
    best = pursuit.best or best
    bound.sharpen(best.table.trip_time_ns(best.schedule), own, pursuit.clock)
    offer_schedules(pursuit, bound)
    bound_others(pursuit, sides, line, until - pursuit.clock.now())
    remember_proved(pursuit, sides)


def bound_every_order(
    pursuit: Pursuit, sides: list[Side], seconds: float, *, briefly: bool = False
) -> None:
    """Raise the least time of every micro-batch up to the incumbent's, for its mask.

    Without a mask that alone has the most importance no time is proved, and nothing is done.

    Args:
        briefly: leave out the programs that take long, and seldom prove more than the others.
    """
    best = pursuit.best
    if best is None or not pursuit.techniques.any_order_bound or seconds <= 0:
        return
    if unrestricted_proof(pursuit, sides).time_ns is None:
        return
    if joined_proof(pursuit, sides).of_every_plan == best.worth.time_ns:
        return  # proved otherwise
    mask, until = best.instance.mask(), pursuit.clock.now() + seconds
    slow = [side for side in sides if side.least_time_ns(mask) < best.worth.time_ns]
    # The least of all counts: the lowest comes first.
    slow.sort(key=lambda side: side.least_time_ns(mask))
    for number, side in enumerate(slow):
        bound = side.any_order_bound(mask, pursuit.bound_any_order)
        if bound.exhausted:
            continue
        pursuit.tell("bound of every order")
        outside_ns, _ = plain_costs(bound.table.instance)
        target_ns = -(-(best.worth.time_ns - outside_ns) // bound.table.instance.trips)
        left = (until - pursuit.clock.now()) / (len(slow) - number)
        bound.sharpen(target_ns, left, pursuit.clock, 1 if briefly else MOST_BRANCHING)
