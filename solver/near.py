"""Schedules near known ones: annealing from what was found before, at another limit or mask.

``find_schedules`` without what it begins with: no orders to start from, no greedy starts.  It takes
no more time than it is given, which those do on large graphs.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import Pursuit, Side, carried_from_best, pack_found
from memplan.solver.build_instance import fix_mask
from memplan.solver.clock import Clock
from memplan.solver.hasten import hastened
from memplan.solver.heuristics import Found
from memplan.solver.local_search import anneal
from memplan.solver.schedule import Schedule, Table
from memplan.solver.time_bound import trip_time_lower_bound

__all__ = ["near_schedules", "try_near"]

Steps = tuple[tuple[int, int], ...]


def try_near(pursuit: Pursuit, side: Side, mask: dict[str, LayerUpdate], seconds: float) -> bool:
    """Look for a plan with ``mask`` near the schedules that are known; True if one fits."""
    table = Table.of(fix_mask(side.instance, mask))
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
            pursuit.techniques.annealing,
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
    annealing: bool = True,
) -> Found:
    """Return schedules within ``limit_bytes`` that known ones lead to, the fastest first."""
    until = clock.now() + seconds
    found = Found()
    reached: dict[Steps, tuple[int, int]] = {}
    for steps in known:
        peak = found.add(table, steps, limit_bytes)
        if peak is not None:
            reached[steps] = (max(0, peak - limit_bytes), _time_ns(table, steps))
    for _, _, steps in tuple(found.fitting[:2]):
        if found.fitting[0][0] <= trip_time_lower_bound(table):
            return found
        faster = hastened(table, steps, limit_bytes, clock.now() + 0.2 * seconds, clock)
        if faster is not None and found.add(table, faster, limit_bytes) is not None:
            reached[faster] = (0, _time_ns(table, faster))
    if annealing and reached and not clock.over(until):
        best, _ = anneal(
            table,
            min(reached.items(), key=lambda item: item[1])[0],
            limit_bytes,
            until,
            seed,
            lambda steps, _: found.add(table, steps, limit_bytes),
            clock,
            workers=table.instance.request.workers,
        )
        found.add(table, best, limit_bytes)
    return found


def _time_ns(table: Table, schedule: Schedule) -> int:
    return sum(table.time_ns[work][way] for work, way in schedule)
