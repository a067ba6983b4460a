"""Small graphs: recomputation in the plain order solved exactly, addresses afterwards.

It finds in a fraction of a second what annealing finds late, and proves it.  Three programs, each
where the one before does not close: the search over what is held (``label_search``), the whole
program of ``stage_program``, and ``line_model``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from memplan.solver.pursuit import Pursuit, Side, fits
from memplan.solver.relaxation.line_model import solve_line
from memplan.solver.relaxation.line_optimum import MOST_ITEMS, LineOptimum, LineSearch
from memplan.solver.relaxation.recomputation import Limited, RecomputationBound
from memplan.solver.relaxation.timeline import Timeline, timeline_of
from memplan.solver.restrictions import ALONG_LINE, ONCE_IN_ORDER, on_computations
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.shifts import shifted
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule, without_unread
from memplan.solver.solution import Solution, place

__all__ = ["search_along", "solve_lines"]

#: Operations of a trip up to which the programs are tried.
_LARGEST_LINE = 120
#: Where nothing may depend on the wall; searches over what is held end by themselves.
_NO_LIMIT_SECONDS = 1e6
#: On chains the search over what is held mostly ends within so many seconds; it gets them, if
#: that is no more than so much of all of the time, and as much of the line's time.
_LABEL_SECONDS, _LABEL_SHARE = 0.25, 0.6
#: Part of the time for a line that a bound of every order may take.
_ANY_ORDER_SHARE = 0.2
#: Schedules of the least time that are tried for addresses, and what packing one may take.
_MOST_PLACED = 12
_SHORT_SECONDS = 0.1
_MOST_PACKING_SECONDS = 1.0
#: As many schedules are looked at for one that fits in live bytes.
_MOST_SHIFTS = 50


@dataclass
class _Line:
    """A line of one micro-batch, and what was found along it."""

    table: Table
    start: Schedule
    line: Timeline
    best: LineOptimum
    restrictions: tuple[str, ...]
    #: Where the best came from a ``LineSearch``.
    search: LineSearch | None = None
    arena_bytes: int | None = None

    @property
    def cost_ns(self) -> int:
        """Time of the best schedule beyond one computation of each."""
        assert self.best.order is not None
        return sum(self.line.time_ns[place] for place in self.best.order) - sum(self.line.time_ns)

    def schedule(self, order: Sequence[int]) -> Schedule | None:
        """Return an order as a schedule, if the request allows it."""
        schedule = without_unread(self.table, [self.start[place] for place in order])
        if live_peak(self.table, schedule) is None or not self.table.within_compute(schedule):
            return None
        return schedule


def solve_lines(
    pursuit: Pursuit, sides: Sequence[Side], seconds: float, *, only: bool = False
) -> None:
    """Offer the best recomputation along the plain line of every micro-batch that is small.

    With one micro-batch, what is proved of it becomes the pursuit's bound on recomputation.

    Args:
        only: leave out lines that are one of many.
    """
    for side in sides:
        instance = side.instance
        if not instance.fixed or instance.limit_bytes < instance.store_bytes:
            continue
        table = Table.of(instance)
        start = needed_schedule(table, fastest_ways(table))
        line = timeline_of(table, start)
        if line is None or not line.is_exact or len(start) > _LARGEST_LINE:
            continue
        if only and not line.is_only:
            continue
        if live_peak(table, start) is None:
            continue
        pursuit.tell(f"recomputation in order, micro-batch {side.samples}")
        along = _solve(pursuit, side, table, start, line, seconds / len(sides))
        if along.best.order is not None:
            _place(pursuit, side, along)
        if pursuit.best is not None and len(sides) == 1:
            bound = pursuit.bound_along(line, instance.room_bytes)
            if along.search is not None:
                bound.line = along.search.line
            bound.limited = Limited(along.best.extra_ns, along.restrictions, along.arena_bytes)
            bound.is_plain_order = True
            pursuit.recomputation = bound


def search_along(pursuit: Pursuit, bound: RecomputationBound, seconds: float) -> None:
    """Solve the incumbent's line exactly, where that is small; offer what is cheaper, if anything.

    The bound is of this line, and is raised.
    """
    best, line = pursuit.best, bound.line
    if best is None or bound.limited is not None or not pursuit.techniques.label_search:
        return
    if not line.is_exact:
        return
    items = sum(len(writes) for writes in line.writes[: line.forward]) + len(best.table.given)
    if line.late or not line.forward or items > MOST_ITEMS or len(line.reads) > _LARGEST_LINE:
        return
    search = LineSearch(line, bound.limit_bytes, free=True)
    share = _NO_LIMIT_SECONDS if pursuit.request.deterministic else 0.3 * seconds
    found = search.by_labels(share, pursuit.clock)
    bound.line = search.line
    bound.limited = Limited(found.extra_ns, (ALONG_LINE,))
    if found.order is None:
        return
    start = tuple(dict(best.schedule).items())  # a line has one way for each
    along = _Line(best.table, start, line, found, (ALONG_LINE,), search)
    cost_ns = best.table.trip_time_ns(best.schedule)
    if along.cost_ns + sum(line.time_ns) < cost_ns:
        side = next(side for side in pursuit.sides if side.samples == best.instance.samples)
        _place(pursuit, side, along)


def _solve(
    pursuit: Pursuit, side: Side, table: Table, start: Schedule, line: Timeline, seconds: float
) -> _Line:
    """Return the cheapest schedule along a line that the programs find, and what they prove."""
    clock, request, room = pursuit.clock, pursuit.request, table.instance.room_bytes
    until = clock.now() + seconds
    only = line.is_only and not line.late
    along = _Line(table, start, line, LineOptimum(None, 0, closed=False), line.restrictions)
    items = sum(len(writes) for writes in line.writes[: line.forward]) + len(table.given)

    once_ns, calls = sum(line.time_ns), count(1)

    def least_of_every_order(extra_ns: int) -> int:
        """Return what it costs at least in every order; each call goes a little further."""
        if not pursuit.techniques.any_order_bound:
            return 0
        bound = side.any_order_bound(side.instance.mask(), pursuit.bound_any_order)
        share = _ANY_ORDER_SHARE * (until - clock.now())
        bound.sharpen(once_ns + extra_ns, share, clock, next(calls))
        return bound.trip_time_ns - once_ns

    if not line.late and line.forward and items <= MOST_ITEMS:
        techniques = pursuit.techniques
        if techniques.label_search:
            along.search = LineSearch(line, room, free=True)
            part = _LABEL_SHARE if only else 0.3
            share = max(part * seconds, min(_LABEL_SECONDS, _LABEL_SHARE * pursuit.left))
            share = _NO_LIMIT_SECONDS if request.deterministic else share
            along.best = along.search.by_labels(share, clock, least_of_every_order)
            along.restrictions = () if only else (ALONG_LINE,)
        # HiGHS stops by the wall: not where plans must not differ.
        if techniques.stage_program and not request.deterministic and not _is_settled(along):
            search = LineSearch(line, room, free=False)
            restrictions = (ONCE_IN_ORDER,) if only else (ALONG_LINE, ONCE_IN_ORDER)
            found = search.by_program(until - clock.now(), clock)
            _take(along, _Line(table, start, line, found, restrictions, search))
    if not _is_settled(along):
        solved = solve_line(
            line, room, request.modelled_computations, max(0.05, until - clock.now()),
            pursuit.next_seed(), request.workers, clock,
        )  # fmt: skip
        limits = (
            ALONG_LINE,
            on_computations(request),
            ONCE_IN_ORDER,
        )
        extra_ns = solved.extra_ns if solved.exact and not line.late else 0
        other = _Line(table, start, line, LineOptimum(solved.order, extra_ns, closed=False), limits)
        if solved.order is not None:
            other.best = LineOptimum(solved.order, extra_ns, closed=extra_ns >= other.cost_ns)
            _take(along, other)
    return along


def _is_settled(along: _Line) -> bool:
    """Tell whether the best schedule is allowed, and the cheapest."""
    order = along.best.order
    return along.best.closed and order is not None and along.schedule(order) is not None


def _take(along: _Line, other: _Line) -> None:
    """Take another result in, where it is cheaper or proves more."""
    if other.best.order is not None and other.schedule(other.best.order) is None:
        return
    worse = along.best.order is None or along.schedule(along.best.order) is None
    if other.best.order is not None and (worse or other.cost_ns < along.cost_ns):
        proof = max(along, other, key=lambda one: one.best.extra_ns)
        along.best = LineOptimum(other.best.order, proof.best.extra_ns, other.best.closed)
        along.restrictions, along.search = proof.restrictions, proof.search
    elif other.best.extra_ns > along.best.extra_ns:
        along.best = LineOptimum(along.best.order, other.best.extra_ns, closed=False)
        along.restrictions, along.search = other.restrictions, other.search


def _place(pursuit: Pursuit, side: Side, along: _Line) -> None:
    """Find addresses for the best schedule, or for another that takes the same time."""
    instance = along.table.instance
    for number, order in enumerate(_orders(pursuit, along)):
        schedule = along.schedule(order)
        if schedule is None or number == _MOST_PLACED:
            break
        solution = _placed(pursuit, along, schedule, instance.room_bytes)
        if number == 0:
            side.known(instance.mask()).append(tuple(schedule))
        if not fits(solution):
            continue
        # Where the least arena is known it is asked for, once the room is met.
        if along.arena_bytes is None or solution.worth.arena_bytes == along.arena_bytes:
            return
        least = instance.aligned(along.arena_bytes - instance.store_bytes)
        if _placed(pursuit, along, schedule, least).worth.arena_bytes == along.arena_bytes:
            return
    # As some is tried twice, it gets longer.
    if pursuit.best is None and (schedule := along.schedule(along.best.order or ())) is not None:
        _placed(pursuit, along, schedule, instance.room_bytes, _MOST_PACKING_SECONDS)


def _placed(
    pursuit: Pursuit,
    along: _Line,
    schedule: Schedule,
    limit: int,
    seconds: float = _SHORT_SECONDS,
) -> Solution:
    """Offer a schedule with the addresses that are found within a limit on the body's bytes."""
    request, left = pursuit.request, min(seconds, 0.2 * pursuit.left)
    table, clock = along.table, pursuit.clock
    solution = place(table, schedule, limit, left, request.seed, request.workers, clock)
    pursuit.offer(solution)
    return solution


def _orders(pursuit: Pursuit, along: _Line) -> Iterator[Sequence[int]]:
    """Yield schedules of the best's time, those with the lowest peak first.

    Where the search over what is needed can say which peak is the lowest, it is a bound on the
    arena.
    """
    assert along.best.order is not None
    search, cost_ns, room = along.search, along.cost_ns, along.table.instance.room_bytes
    found: list[Sequence[int]] = [along.best.order]
    peak = _peak(along, along.best.order)
    if search is None or search.labels is None or not along.best.closed or peak is None:
        yield from found
        return
    # None has a peak of ``too_low`` or less: it is rarely far below the first.
    too_low, complete, step = 0, True, 1
    while too_low + 1 < peak and not pursuit.clock.stop():
        limit = max(peak - step, (too_low + peak) // 2)
        lower = search.another(cost_ns, limit, len(found))
        lower_peak = None if lower.order is None else _peak(along, lower.order)
        if lower.order is not None and lower_peak is not None and lower_peak < peak:
            found.append(lower.order)
            peak = lower_peak
            step *= 2
        elif lower.order is None and not lower.closed:
            complete = False
            break
        else:
            # An order is no lower where bytes are shared: the search counts them all.
            complete = complete and lower.order is None
            too_low = limit
    if complete and too_low + 1 >= peak and along.line.is_plain:
        instance = along.table.instance
        along.arena_bytes = instance.store_bytes + peak - (instance.alignment_bytes - 1)
    chance = random.Random(pursuit.request.seed)
    yield search.delayed(found[-1])
    yield found[-1]
    for seed in range(_MOST_PLACED):
        other = search.another(cost_ns, room, len(found) + 1 + seed).order or found[-1]
        yield search.delayed(other)
        for _ in range(_MOST_SHIFTS):
            schedule = along.schedule(search.delayed(other))
            if schedule is None:
                break
            shift = shifted(along.table, schedule, chance)
            shifted_peak = live_peak(along.table, shift)
            if shifted_peak is not None and shifted_peak <= room:
                at = {step: place for place, step in enumerate(along.start)}
                yield [at[one] for one in shift]
                break


def _peak(along: _Line, order: Sequence[int]) -> int | None:
    """Return the peak of live bytes of an order, or None where it is not allowed."""
    schedule = along.schedule(order)
    return None if schedule is None else live_peak(along.table, schedule)
