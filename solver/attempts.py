"""One attempt: a micro-batch and an update mask in, schedules, addresses and solutions out."""

from __future__ import annotations

from memplan.solver.pursuit import Mask, Pursuit, Side, Steps, fits
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.carry_over import carried_over
from memplan.solver.scheduling.deep import deep_within
from memplan.solver.scheduling.found import Found
from memplan.solver.scheduling.heuristics import find_schedules, smallest_peak
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.solution import Solution, place
from memplan.solver.time_bound import time_lower_bound

__all__ = [
    "cannot_improve",
    "carried_from_best",
    "carry_over",
    "is_poor",
    "offer_as_it_is",
    "pack_found",
    "shrink",
    "try_mask",
]

#: What carrying a schedule over to another mask takes, per step; measured.
_SECONDS_PER_STEP = 5e-5
#: With less per step, a packing that is not found at once is seldom found at all.
_PACKING_SECONDS_PER_STEP = 2e-4
#: What exceeds the room by so much is searched again at a limit that is lower by so many times it.
#: Without a plan, and with time for a few such rounds only, by more.
_LOWERED, _LOWERED_IN_A_HURRY, _HURRY_ROUNDS = 1.1, 1.6, 3
#: Once something fits, a limit that was lowered in a hurry is lowered by so much of that.
_LESS_LOWERED = 0.6
#: So much longer than the fastest schedule that was found takes a plan that is as good as none.
_POOR = 1.05
#: Where there is no plan, what packing the schedule of the least peak may take of packing's time.
_LEAST_SHARE = 0.2


def cannot_improve(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    """Tell whether every plan of this mask is worse than the incumbent."""
    if pursuit.best is None or not pursuit.techniques.micro_batch_bounds:
        return False
    table = side.table(mask)
    importance = sum(choice.units[0] for choice in table.instance.choices)
    best = pursuit.best.worth
    return (-importance, time_lower_bound(table)) > (best.minus_importance, best.time_ns)


def carry_over(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    """Tell whether the incumbent's schedule, with what else ``mask`` needs, fits as it is."""
    table = side.table(mask)
    for steps in carried_from_best(pursuit, table):
        side.known(mask).append(steps)
        if offer_as_it_is(pursuit, table, steps):
            return True
    return False


def carried_from_best(pursuit: Pursuit, table: Table) -> list[Steps]:
    """Return the incumbent's schedule, made one of ``table``; nothing where that cannot be."""
    best = pursuit.best
    if best is None:
        return []
    pursuit.clock.spend(_SECONDS_PER_STEP * len(best.schedule))
    carried = carried_over(best.table, best.schedule, table)
    return [] if carried is None else [carried]


def offer_as_it_is(pursuit: Pursuit, table: Table, steps: Steps) -> bool:
    """Give a schedule its addresses, if its live bytes fit; True if the plan does."""
    peak, request = live_peak(table, steps), pursuit.request
    room = table.instance.room_bytes
    if peak is None or peak > room:
        return False
    left = min(0.2, 0.1 * pursuit.left)
    solution = place(table, steps, room, left, request.seed, request.workers, pursuit.clock)
    pursuit.offer(solution)
    return fits(solution)


def try_mask(pursuit: Pursuit, side: Side, mask: Mask, seconds: float) -> bool:
    """Look for a plan with ``mask``; True if one fits.

    Where live bytes fit but no addresses are found, the schedule is searched again at a limit
    that is lower by what the packing overshot.
    """
    if pursuit.best is not None and pursuit.clock.stop():
        return False
    table = side.table(mask)
    instance = table.instance
    if instance.limit_bytes < instance.store_bytes - instance.alignment_bytes:
        return False
    until = pursuit.clock.now() + seconds
    limit = instance.room_bytes
    key = frozenset(mask.values())
    known = side.known(mask)
    if is_poor(pursuit.best, side, mask):  # first of all something that fits, and is good
        limit -= side.lowered_bytes.get(key, 0)
    if not known:
        known += carried_from_best(pursuit, table)
    for attempt in range(4):
        began = pursuit.clock.now()
        left = until - pursuit.clock.now()
        # With a given mask one miss by little is made good, even if there is no time for it.
        nearly = attempt == 1 and side.instance.fixed and limit > 0.98 * instance.room_bytes
        if attempt and (pursuit.clock.stop() or (left <= 0 and not nearly)):
            break
        found = find_schedules(
            table,
            limit,
            max(0.0, left) * (0.6 if attempt < 3 else 0.8),
            pursuit.next_seed(),
            pursuit.techniques,
            pursuit.clock,
            known,
        )
        known[:] = [*(steps for _, _, steps in found.fitting[:3]), found.least]
        overshoot = pack_found(pursuit, table, found, max(0.05, 0.3 * left))
        if overshoot == 0:
            if key in side.hurried:  # next time by less: more live bytes, less time
                side.lowered_bytes[key] = int(_LESS_LOWERED * (instance.room_bytes - limit))
            return True
        if overshoot is not None:
            hurries = pursuit.left < _HURRY_ROUNDS * (pursuit.clock.now() - began)
            if hurries and pursuit.best is None:
                side.hurried.add(key)
                factor = _LOWERED_IN_A_HURRY
            else:
                factor = _LOWERED
            limit = int(limit - factor * overshoot)
        else:  # that was too low
            limit = (limit + instance.room_bytes) // 2
        side.lowered_bytes[key] = instance.room_bytes - limit
    return False


def is_poor(best: Solution | None, side: Side, mask: Mask) -> bool:
    """Tell whether there is no plan, or one that should be hastened before anything else.

    It takes much longer than a schedule of the same mask that was found, or is of a limit that was
    lowered in a hurry.
    """
    if best is None:
        return True
    known = [steps for steps in side.known(mask) if steps]
    if best.instance.samples != side.samples or best.instance.mask() != mask or not known:
        return False
    if frozenset(mask.values()) in side.hurried:
        return True
    fastest = min(best.table.trip_time_ns(steps) for steps in known)
    return best.table.trip_time_ns(best.schedule) > _POOR * fastest


def pack_found(pursuit: Pursuit, table: Table, found: Found, seconds: float) -> int | None:
    """Find addresses for the schedules that fit in live bytes, the fastest first.

    Returns:
        Bytes by which the best packing exceeds the room (0: it fits); None if no schedule fits.
    """
    request, instance = pursuit.request, table.instance
    until = pursuit.clock.now() + seconds
    least: int | None = None
    # Rather a few for long enough than all in vain: they are alike, as a rule.
    steps = max((len(schedule) for _, _, schedule in found.fitting), default=1)
    tried = found.fitting[: max(1, int(seconds / (_PACKING_SECONDS_PER_STEP * steps)))]
    if pursuit.best is None and len(found.fitting) > 1 and found.least:
        # First of all something that fits: what leaves the most room is packed the most easily.
        room, left = instance.room_bytes, _LEAST_SHARE * seconds
        clock = pursuit.clock
        pursuit.offer(place(table, found.least, room, left, request.seed, request.workers, clock))
    for number, (_, _, schedule) in enumerate(tried):
        share = max(0.05, (until - pursuit.clock.now()) / (len(tried) - number))
        solution = place(
            table,
            schedule,
            instance.room_bytes,
            share,
            request.seed,
            request.workers,
            pursuit.clock,
        )
        pursuit.offer(solution)
        if fits(solution):
            return 0
        over = solution.worth.arena_bytes - instance.limit_bytes
        least = over if least is None else min(least, over)
    if not found.fitting and found.least:
        pursuit.offer(place(table, found.least, None, 0.0))
    return least


def shrink(pursuit: Pursuit, side: Side, mask: Mask, seconds: float) -> None:
    """Look for the smallest plan of a mask, whatever it costs."""
    table = side.table(mask)
    instance = table.instance
    clock, until = pursuit.clock, pursuit.clock.now() + seconds
    found = smallest_peak(
        table,
        max(0, side.bound.bytes - instance.store_bytes),
        0.6 * seconds,
        pursuit.next_seed(),
        clock,
        pebbling=pursuit.techniques.pebbling,
    )
    if not found.least or found.least_peak is None:
        return
    seed = pursuit.request.seed
    solution = place(table, found.least, None, 0.15 * seconds, seed, clock=clock)
    pursuit.offer(solution)
    # Where packing exceeds the peak, schedules with a little more room may pack into less.
    low, high = found.least_peak, solution.worth.arena_bytes - instance.store_bytes
    orders = starting_orders(table)
    while low < high and not clock.over(until) and pursuit.techniques.pebbling:
        limit = (low + high) // 2
        for steps in deep_within(table, orders, limit, until, clock, pursuit.next_seed()):
            if table.within_compute(steps):
                left = 0.3 * max(0.0, until - clock.now())
                solution = place(table, steps, limit, left, seed, clock=clock)
                pursuit.offer(solution)
                high = min(high, solution.worth.arena_bytes - instance.store_bytes)
        low = limit + 1
