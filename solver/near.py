"""Schedules near known ones: annealing from what was found before, at another limit or mask.

``find_schedules`` without the orders that it starts from, which take long on large graphs: here the
order is the known one.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import carried_from_best, pack_found
from memplan.solver.clock import Clock
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.found import Found, Gathering
from memplan.solver.scheduling.hasten import hastened
from memplan.solver.techniques import Techniques
from memplan.solver.time_bound import trip_time_lower_bound

__all__ = ["GREEDY_SHARE", "near_schedules", "try_near"]

Steps = tuple[tuple[int, int], ...]

#: Part of the time for greedy runs along the known order, in front of annealing.
GREEDY_SHARE = 0.15


def try_near(
    pursuit: Pursuit,
    side: Side,
    mask: dict[str, LayerUpdate],
    seconds: float,
    *,
    greedy_share: float = GREEDY_SHARE,
) -> bool:
    """Look for a plan with ``mask`` near the schedules that are known; True if one fits.

    Args:
        greedy_share: part of the time for greedy runs along the known order.
    """
    table = side.table(mask)
    instance, clock = table.instance, pursuit.clock
    if instance.limit_bytes < instance.store_bytes - instance.alignment_bytes:
        return False
    known = side.known(mask)
    if not known:
        known += carried_from_best(pursuit, table)
    until = clock.now() + seconds
    limit = instance.room_bytes
    while known:
        left = until - clock.now()
        found = near_schedules(
            table,
            limit,
            0.7 * left,
            pursuit.next_seed(),
            clock,
            known,
            pursuit.techniques,
            greedy_share,
        )
        if not found.least:
            return False
        known[:] = [*(steps for _, _, steps in found.fitting[:3]), found.least]
        overshoot = pack_found(pursuit, table, found, max(0.05, 0.3 * left))
        if overshoot == 0:
            return True
        if overshoot is None or clock.over(until):
            return False
        limit = int(limit - 1.1 * overshoot)
    return False


def near_schedules(
    table: Table,
    limit_bytes: int,
    seconds: float,
    seed: int,
    clock: Clock,
    known: Sequence[Steps],
    techniques: Techniques,
    greedy_share: float = GREEDY_SHARE,
) -> Found:
    """Return schedules within ``limit_bytes`` that known ones lead to, the fastest first."""
    until = clock.now() + seconds
    gathering = Gathering(table, limit_bytes, seed, clock)
    found = gathering.found
    for steps in known:
        gathering.add(steps)
    for _, _, steps in tuple(found.fitting[:2]):
        if found.fitting[0][0] <= trip_time_lower_bound(table):
            return found
        faster = hastened(table, steps, limit_bytes, clock.now() + 0.2 * seconds, clock)
        if faster is not None:
            gathering.add(faster)
    if techniques.greedy and gathering.starts:
        order = _first_computations(gathering.nearest)
        if live_peak(table, order) is not None:
            end = clock.now() + greedy_share * (until - clock.now())
            gathering.climb([order], end, kinds=techniques.priorities)
    if techniques.annealing and gathering.starts and not clock.over(until):
        gathering.anneal(until)
    return found


def _first_computations(steps: Steps) -> Steps:
    first: dict[int, int] = {}
    for work, way in steps:
        first.setdefault(work, way)
    return tuple(first.items())
