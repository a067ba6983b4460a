"""Bounds on time that hold for plans of every order, beside those along the incumbent's line."""

from __future__ import annotations

from memplan.solver.proofs import joined_proof, unrestricted_proof
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.relaxation.any_order_bound import MOST_BRANCHING
from memplan.solver.solution import plain_costs

__all__ = ["bound_every_order"]


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
