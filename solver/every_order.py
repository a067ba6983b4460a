"""Small graphs: order and recomputation solved exactly together, addresses afterwards.

The search over all orders (``relaxation/order_search``) goes from where it was whenever there is
time.  Its bounds hold for every plan of a mask and micro-batch, without restrictions: it is used
where each operation has one way and shares no bytes with an operand.
"""

from __future__ import annotations

import random
from functools import partial

from memplan.solver.proofs import joined_proof, unrestricted_proof
from memplan.solver.pursuit import Mask, Pursuit, Side, fits
from memplan.solver.relaxation.cheapest_order import MOST_STATES, CheapestOrder, flat_game
from memplan.solver.relaxation.order_search import MOST_BITS
from memplan.solver.relaxation.timeline import timeline_of
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.pebble_board import Board, is_the_game
from memplan.solver.scheduling.shifts import shifted
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.solution import Solution, place, plain_costs
from memplan.solver.time_bound import with_outside

__all__ = ["search_orders"]

#: What packing one schedule may take.
_PACKING_SECONDS = 0.1
#: What looking for the smallest plan of the least time may take.
_LOWERING_SECONDS = 0.5
#: Schedules of the least time and peak that are packed, and how many are looked at for the next.
_MOST_SHIFTS, _MOST_SHIFTS_IN_VAIN = 20, 50


def search_orders(pursuit: Pursuit, sides: list[Side], seconds: float) -> None:
    """Look for the fastest plan of every order, and prove its time; then prove its bytes.

    Of the given mask, or of the incumbent's if that is proved to have the most importance.
    """
    mask = _mask(pursuit, sides)
    if mask is None or seconds <= 0 or not pursuit.techniques.order_search:
        return
    until = pursuit.clock.now() + seconds
    begin = partial(_begin, most_states=MOST_STATES // len(sides))
    # The least of all counts: the lowest comes first.
    hopeful = sorted(sides, key=lambda side: side.least_time_ns(mask))
    for number, side in enumerate(hopeful):
        search = side.cheapest_order(mask, begin)
        if search is None or not _may_be_faster(pursuit, sides, side, mask):
            continue
        pursuit.tell(f"every order, micro-batch {side.samples}")
        left = (until - pursuit.clock.now()) / (len(hopeful) - number)
        _advance(pursuit, side, mask, search, left)
    _lower(pursuit, sides, mask, until - pursuit.clock.now())


def _mask(pursuit: Pursuit, sides: list[Side]) -> Mask | None:
    instance, best = sides[0].instance, pursuit.best
    if instance.fixed:
        return instance.mask()
    if best is None or unrestricted_proof(pursuit, sides).time_ns is None:
        return None
    return best.instance.mask()


def _may_be_faster(pursuit: Pursuit, sides: list[Side], side: Side, mask: Mask) -> bool:
    """Tell whether a plan of a micro-batch may be faster than the incumbent."""
    best = pursuit.best
    if best is None:
        return True
    if joined_proof(pursuit, sides).of_every_plan == best.worth.time_ns:
        return False
    return side.least_time_ns(mask) < best.worth.time_ns


def _begin(side: Side, mask: Mask, most_states: int = MOST_STATES) -> CheapestOrder | None:
    """Return the search of a mask.

    None where it is too large, or plans may do otherwise, or there is one order alone.
    """
    table = side.table(mask)
    steps = needed_schedule(table, fastest_ways(table))
    too_many = len(steps) > 2 * MOST_BITS  # before anything is built of a large graph
    if too_many or side.bound.unread or not is_the_game(table, steps):
        return None
    line = timeline_of(table, steps)
    if line is not None and line.is_only:  # the search along it does it in less time
        return None
    board = Board.of(table, steps)
    game = flat_game(board)
    if game is None:
        return None
    return CheapestOrder(board, game, table.instance.room_bytes, most_states=most_states)


def _advance(
    pursuit: Pursuit, side: Side, mask: Mask, search: CheapestOrder, seconds: float
) -> None:
    """Go on with a search; offer what it finds, and take in what it proves."""
    table, best = search.board.table, pursuit.best
    outside_ns, _ = plain_costs(table.instance)
    below_ns = None
    if best is not None:
        below_ns = -(-(best.worth.time_ns - outside_ns) // table.instance.trips)
    was_over = search.is_over
    search.advance(below_ns, seconds, pursuit.clock)
    side.raise_least_time_ns(mask, search.least_ns)
    if search.schedule is not None and not was_over:
        placed = _place(pursuit, table, search.schedule, table.instance.room_bytes)
        if placed is not None:
            side.known(mask).append(tuple(search.schedule))


def _place(pursuit: Pursuit, table: Table, schedule: Schedule, limit: int) -> Solution | None:
    """Offer a schedule with its addresses; None where the request does not allow it."""
    if live_peak(table, schedule) is None or not table.within_compute(schedule):
        return None
    request, seconds = pursuit.request, min(_PACKING_SECONDS, 0.2 * pursuit.left)
    clock = pursuit.clock
    solution = place(table, schedule, limit, seconds, request.seed, request.workers, clock)
    pursuit.offer(solution)
    return solution


def _lower(pursuit: Pursuit, sides: list[Side], mask: Mask, seconds: float) -> None:
    """Look for the smallest plan of the least time, if that is the incumbent's or may become it."""
    best, side = pursuit.best, min(sides, key=lambda side: side.least_time_ns(mask))
    least_ns = side.least_time_ns(mask)
    if best is not None and best.worth.time_ns == least_ns:
        side = next(each for each in sides if each.samples == best.instance.samples)
        if best.worth.arena_bytes == side.least_arena_bytes(mask, least_ns):
            return
    search = side.cheapest_order(mask, _begin)
    if search is None or search.lowered_ns == least_ns or seconds <= 0:
        return
    schedule = search.schedule
    if best is not None and best.worth.time_ns == least_ns and best.instance.mask() == mask:
        schedule = best.schedule
    if schedule is None or with_outside(search.board.table, search.trip_ns(schedule)) != least_ns:
        return
    pursuit.tell(f"every order, micro-batch {side.samples}")
    search.lowered_ns = least_ns
    table, until = search.board.table, pursuit.clock.now() + seconds
    instance = table.instance
    if best is None or best.worth.time_ns > least_ns:  # no addresses were found
        _shift(pursuit, table, schedule, instance.room_bytes, until)
        best = pursuit.best
    if best is not None and best.worth.time_ns == least_ns:
        until = min(until, pursuit.clock.now() + _LOWERING_SECONDS)
    smallest = _of_least_peak(pursuit, side, search, schedule, until)
    if smallest is None:
        return
    # Whatever is on top need not be padded.
    peak = live_peak(table, smallest) or 0
    least = instance.store_bytes + peak - (instance.alignment_bytes - 1)
    side.raise_least_arena_bytes(mask, least_ns, least)
    _shift(pursuit, table, smallest, peak, until)


def _of_least_peak(
    pursuit: Pursuit, side: Side, search: CheapestOrder, schedule: Schedule, until: float
) -> Schedule | None:
    """Offer schedules of fewer and fewer live bytes, of the time of one that takes the least.

    Returns:
        One of the least peak; None where time was over before, or the request does not allow it.
    """
    table, trip_ns = search.board.table, search.trip_ns(schedule)
    peak = live_peak(table, schedule)
    # None of this time has a peak of ``too_low`` or less: it is rarely far below the first.
    too_low, step = max(0, side.bound.bytes - table.instance.store_bytes) - 1, 1
    while peak is not None and too_low + 1 < peak:
        if pursuit.clock.over(until):
            return None
        limit = max(peak - step, (too_low + peak) // 2)
        lower = CheapestOrder(search.board, search.game, limit)
        lower.advance(trip_ns + 1, until - pursuit.clock.now(), pursuit.clock)
        if lower.schedule is not None:
            schedule = lower.schedule
            peak = live_peak(table, schedule)
            solution = None if peak is None else _place(pursuit, table, schedule, peak)
            if solution is not None and not fits(solution):
                _place(pursuit, table, schedule, table.instance.room_bytes)
            step *= 2
        elif lower.is_over and lower.least_ns > trip_ns:
            too_low = limit
        else:
            return None
    return None if peak is None else schedule


def _shift(pursuit: Pursuit, table: Table, schedule: Schedule, peak: int, until: float) -> None:
    """Move what runs again, at the same peak of live bytes, until addresses are found for it."""
    chance = random.Random(pursuit.request.seed)
    for _ in range(_MOST_SHIFTS):
        solution = _place(pursuit, table, schedule, peak)
        if solution is None or pursuit.clock.over(until):
            return
        if solution.worth.arena_bytes <= table.instance.store_bytes + peak:
            return
        for _ in range(_MOST_SHIFTS_IN_VAIN):
            shift = shifted(table, schedule, chance)
            if (live_peak(table, shift) or peak + 1) <= peak:
                schedule = shift
                break
