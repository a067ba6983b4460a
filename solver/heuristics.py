"""Schedules for one mask and one micro-batch, by many greedy starts and annealing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from memplan.solver.annealing import anneal
from memplan.solver.clock import WALL, Clock
from memplan.solver.greedy import Exponents, evict_and_recompute, random_exponents
from memplan.solver.orders import starting_orders
from memplan.solver.schedule import Table, live_peak
from memplan.solver.techniques import Techniques
from memplan.solver.ways import needed_schedule, plain_ways

__all__ = ["Found", "find_schedules", "smallest_peak"]

Steps = tuple[tuple[int, int], ...]

#: What a greedy run takes, per step of the schedule that it makes; measured.
_SECONDS_PER_STEP = 4e-5


@dataclass
class Found:
    """Schedules that were found: those that fit, and the one of least peak."""

    #: (time_ns of one trip, schedule), fastest first, at most a handful.
    fitting: list[tuple[int, Steps]] = field(default_factory=list)
    least_peak: int | None = None
    least: Steps = ()

    def add(self, table: Table, schedule: Steps, peak: int, limit: int) -> bool:
        """Record a schedule; True if it fits and is faster than all before."""
        if self.least_peak is None or peak < self.least_peak:
            self.least_peak, self.least = peak, schedule
        if peak > limit:
            return False
        spent = sum(table.time_ns[work][way] for work, way in schedule)
        better = not self.fitting or spent < self.fitting[0][0]
        if all(schedule != known for _, known in self.fitting):
            self.fitting.append((spent, schedule))
            self.fitting.sort(key=lambda entry: entry[0])
            del self.fitting[8:]
        return better


def find_schedules(
    table: Table,
    limit_bytes: int,
    seconds: float,
    seed: int,
    techniques: Techniques,
    allowed: Callable[[Steps], bool] = lambda _: True,
    clock: Clock = WALL,
) -> Found:
    """Return schedules whose live bytes stay within ``limit_bytes``, the fastest first.

    Args:
        allowed: further conditions on a schedule (the compute limit).
    """
    until = clock.now() + seconds
    chance = random.Random(seed)
    found = Found()
    orders = _starting_orders(table, allowed)
    for order, peak in orders.items():
        if allowed(order):
            found.add(table, order, peak, limit_bytes)
    plain_fits = bool(found.fitting)
    if techniques.greedy and not plain_fits:
        _greedy_starts(table, limit_bytes, list(orders), found, chance, until, allowed, clock)
    if techniques.annealing and found.least and clock.now() < until and not plain_fits:
        begin = list(found.fitting[0][1] if found.fitting else found.least)

        def keep(schedule: list[tuple[int, int]], _: int) -> None:
            steps = tuple(schedule)
            peak = live_peak(table, steps)
            if peak is not None and allowed(steps):
                found.add(table, steps, peak, limit_bytes)

        best, _ = anneal(table, begin, limit_bytes, until, seed, keep, clock)
        reached = live_peak(table, best)
        if reached is not None and allowed(tuple(best)):
            found.add(table, tuple(best), reached, limit_bytes)
    return found


def _starting_orders(table: Table, allowed: Callable[[Steps], bool]) -> dict[Steps, int]:
    """Return schedules with their peaks; at least one is allowed."""
    orders = starting_orders(table)
    if not any(allowed(order) for order in orders):
        orders.append(tuple(needed_schedule(table, plain_ways(table))))
    peaks = {order: live_peak(table, order) for order in orders}
    return {order: peak for order, peak in peaks.items() if peak is not None}


def _greedy_starts(
    table: Table,
    limit_bytes: int,
    orders: list[Steps],
    found: Found,
    chance: random.Random,
    end: float,
    allowed: Callable[[Steps], bool],
    clock: Clock,
) -> None:
    began = clock.now()
    until = began + (end - began) * 0.6
    number = 0
    # Least (overflow, time) per order: the better ones are tried more often.
    reached: dict[int, tuple[int, int]] = {}
    while orders and (number < 2 * len(orders) or not clock.over(until)):
        which = number % len(orders)
        if number >= 2 * len(orders) and reached and chance.random() < 0.6:
            which = min(reached, key=lambda index: reached[index])
        exponents = Exponents() if number < len(orders) else random_exponents(chance)
        # The greedy's own count errs a little on either side: aim lower now and then.
        aim = limit_bytes if number < len(orders) else int(limit_bytes * chance.uniform(0.9, 1.02))
        schedule = evict_and_recompute(table, orders[which], aim, exponents, chance)
        number += 1
        clock.spend(_SECONDS_PER_STEP * len(schedule or orders[which]))
        if schedule is None:
            continue
        steps = tuple(schedule)
        peak = live_peak(table, steps)
        if peak is not None and allowed(steps):
            found.add(table, steps, peak, limit_bytes)
            spent = sum(table.time_ns[work][way] for work, way in steps)
            worth = (max(0, peak - limit_bytes), spent)
            reached[which] = min(worth, reached.get(which, worth))


def smallest_peak(
    table: Table,
    lower_bytes: int,
    seconds: float,
    seed: int,
    allowed: Callable[[Steps], bool] = lambda _: True,
    clock: Clock = WALL,
) -> Found:
    """Look for the schedule of least peak: greedy starts at falling limits."""
    until = clock.now() + seconds
    chance = random.Random(seed)
    found = Found()
    peaks = _starting_orders(table, allowed)
    orders = list(peaks)
    for order, peak in peaks.items():
        if allowed(order):
            found.add(table, order, peak, 0)
    midway = clock.now() + 0.5 * seconds
    while found.least_peak is not None and not clock.over(midway):
        if found.least_peak <= lower_bytes:
            break
        aim = int(lower_bytes + (found.least_peak - lower_bytes) * chance.uniform(0.0, 1.0))
        schedule = evict_and_recompute(
            table, chance.choice(orders), aim, random_exponents(chance), chance
        )
        clock.spend(_SECONDS_PER_STEP * (len(schedule) if schedule else 100))
        if schedule is None:
            continue
        steps = tuple(schedule)
        reached = live_peak(table, steps)
        if reached is not None and allowed(steps):
            found.add(table, steps, reached, 0)
    # Annealing towards limits that fall with what is reached.
    for share in (0.4, 0.7, 1.0):
        if found.least_peak is None or found.least_peak <= lower_bytes or clock.stop():
            break
        limit = max(lower_bytes, int(found.least_peak * 0.97))
        end = min(until, midway + share * 0.5 * seconds)
        steps = tuple(anneal(table, found.least, limit, end, seed, lambda *_: None, clock)[0])
        lower = live_peak(table, steps)
        if lower is not None and allowed(steps):
            found.add(table, steps, lower, 0)
    return found
