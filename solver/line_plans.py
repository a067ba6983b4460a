"""Plans along the incumbent's line, out of what the bound on recomputation knows.

The whole solutions of the bound say what runs again, and about when.  Where they fit they are as
fast as anything along the line; where they do not, annealing mends them.
"""

from __future__ import annotations

from memplan.solver.attempts import Pursuit, Steps
from memplan.solver.local_search import anneal
from memplan.solver.relaxation.recomputation import RecomputationBound
from memplan.solver.schedule import Table, live_peak
from memplan.solver.solution import place
from memplan.solver.ways import without_unread

__all__ = ["offer_schedules"]

#: Of the time that is left, what mending one schedule may take, and packing it.
_MENDING_SHARE = 0.05
_PACKING_SHARE = 0.05
_MOST_SECONDS = 3.0


def offer_schedules(pursuit: Pursuit, bound: RecomputationBound) -> None:
    """Offer the schedules that came with a bound along the incumbent's line, the fastest first."""
    best = pursuit.best
    if best is None:
        return
    table, request = best.table, pursuit.request
    first = list(dict(best.schedule).items())  # a line has one way for each
    side = next(side for side in pursuit.sides if side.samples == best.instance.samples)
    known = side.known(best.instance.mask())
    for one in sorted(bound.take_schedules(), key=lambda one: (one.extra_ns, one.exceeding)):
        steps = _fitting(pursuit, table, [first[place] for place in one.order])
        if steps is None or pursuit.best is None:
            continue
        if _time_ns(table, steps) >= _time_ns(table, pursuit.best.schedule):
            continue
        known.append(steps)
        seconds = min(_MOST_SECONDS, _PACKING_SHARE * pursuit.left)
        pursuit.offer(
            place(
                table, steps, best.instance.room_bytes, seconds, request.seed, request.workers,
                pursuit.clock,
            )
        )  # fmt: skip


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


def _time_ns(table: Table, schedule: Steps | list[tuple[int, int]]) -> int:
    return sum(table.time_ns[work][way] for work, way in schedule)
