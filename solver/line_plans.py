"""Plans along the incumbent's line, out of what the bound on recomputation knows.

The whole solutions of the bound say what runs again, and about when.  Where they fit they are as
fast as anything along the line; where they do not, annealing mends them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from memplan.solver.local_search import anneal
from memplan.solver.pursuit import Pursuit, Steps, fits
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.shifts import shifted
from memplan.solver.scheduling.ways import without_unread
from memplan.solver.solution import place

__all__ = ["offer_schedules"]

#: Of the time that is left, what mending one schedule may take, and packing it.
_MENDING_SHARE = 0.05
_PACKING_SHARE = 0.2
_MOST_SECONDS = 3.0
#: As many schedules that do not fit are mended.
_MOST_MENDED = 3
_MOST_PACKING_SECONDS = 10.0
#: Of that, the first schedule may take this part, and each of those near it so long.
_FIRST_SHARE = 0.1
_SHORT_SECONDS = 0.15
#: As many schedules are looked at for one that fits in live bytes.
_MOST_SHIFTS = 200


def offer_schedules(pursuit: Pursuit, bound: RecomputationBound) -> None:
    """Offer the schedules that came with a bound along the incumbent's line: the fastest that fits,
    then those that exceed the limit least."""
    best = pursuit.best
    if best is None:
        return
    table = best.table
    first, again = _ways(best.schedule)
    side = next(side for side in pursuit.sides if side.samples == best.instance.samples)
    known = side.known(best.instance.mask())
    new = sorted(bound.take_schedules(), key=lambda one: (one.excess_bytes, one.extra_ns))
    fitting = sum(not one.exceeding for one in new)
    for one in new[: fitting + _MOST_MENDED]:
        steps = _fitting(pursuit, table, _steps(one.order, first, again))
        if steps is None or pursuit.best is None:
            continue
        if table.trip_time_ns(steps) >= table.trip_time_ns(pursuit.best.schedule):
            continue
        known.append(steps)
        _pack(pursuit, table, steps)


def _pack(pursuit: Pursuit, table: Table, steps: Steps) -> None:
    """Offer a schedule with addresses; where none are found, schedules of equal time near it."""
    request, clock, room = pursuit.request, pursuit.clock, table.instance.room_bytes
    until = clock.now() + min(_MOST_PACKING_SECONDS, _PACKING_SHARE * pursuit.left)
    chance = random.Random(pursuit.next_seed())
    seconds = _FIRST_SHARE * (until - clock.now())
    while True:
        solution = place(table, steps, room, seconds, request.seed, request.workers, clock)
        pursuit.offer(solution)
        if fits(solution):
            return
        seconds = _SHORT_SECONDS
        for _ in range(_MOST_SHIFTS):
            if clock.over(until):
                return
            other = shifted(table, steps, chance)
            peak = live_peak(table, other)
            if peak is not None and peak <= room:
                steps = other
                break
        else:
            return


def _ways(schedule: Steps) -> tuple[Steps, Steps]:
    """Return the first computations, and by which ways they run again, or would."""
    first: dict[int, int] = {}
    for work, way in schedule:
        first.setdefault(work, way)
    return tuple(first.items()), tuple(dict(schedule).items())


def _steps(order: Sequence[int], first: Steps, again: Steps) -> list[tuple[int, int]]:
    """Return an order of positions as steps."""
    seen: set[int] = set()
    steps = []
    for position in order:
        steps.append((again if position in seen else first)[position])
        seen.add(position)
    return steps


def _fitting(pursuit: Pursuit, table: Table, schedule: list[tuple[int, int]]) -> Steps | None:
    """Return a schedule that fits in live bytes: this one, or one near it; None: none was found."""
    limit = table.instance.room_bytes
    steps = without_unread(table, schedule)
    peak = live_peak(table, steps)
    if peak is None:
        return None
    if peak > limit:
        until = pursuit.clock.now() + min(_MOST_SECONDS, _MENDING_SHARE * pursuit.left)
        steps, overflow = anneal(
            table, steps, limit, until, pursuit.next_seed(), lambda *_: None, pursuit.clock,
            workers=pursuit.request.workers,
        )  # fmt: skip
        if overflow:
            return None
    return tuple(steps) if table.within_compute(steps) else None
