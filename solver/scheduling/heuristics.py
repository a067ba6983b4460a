"""Schedules for one mask and one micro-batch, by many greedy starts and annealing."""

from __future__ import annotations

import random
from collections.abc import Sequence

from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search import anneal
from memplan.solver.local_search.flat import flatten
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.cuts import schedules_of_cuts
from memplan.solver.scheduling.deep import deep_within, deepest
from memplan.solver.scheduling.found import Found, Gathering
from memplan.solver.scheduling.greedy import GreedyRuns, random_exponents
from memplan.solver.scheduling.hasten import hastened
from memplan.solver.scheduling.orders import starting_orders
from memplan.solver.scheduling.segments import schedules_of_segments
from memplan.solver.scheduling.ways import needed_schedule, plain_ways
from memplan.solver.techniques import Techniques
from memplan.solver.time_bound import trip_time_lower_bound

__all__ = ["find_schedules", "smallest_peak"]

Steps = tuple[tuple[int, int], ...]

#: What a greedy run and its measurement take, per step of the schedule that it makes; measured.
_SECONDS_PER_STEP = 5e-6
#: Share of the time for what minimum cuts keep; other searches find it where there are fewer steps.
_CUT_SHARE, _CUT_STEPS = 0.3, 500
#: Shares of the time for segments that run again: where something fits, and where nothing does.
_SEGMENTS_SHARES = (0.1, 0.25)
#: Share of the time for greedy runs, where annealing follows: on small and on large graphs.  A move
#: of annealing costs as much as the schedule is long, and changes as little.
_GREEDY_SHARES = (0.25, 0.85)
#: A graph of so many steps is large; between nothing and that the share is in between.
_LARGE_STEPS = 1500
#: Part of that share on small graphs, where annealing has better schedules to go on from.
_GREEDY_AGAIN = 0.2
#: Shares of what is left for deep recomputation, before and behind greedy runs, where nothing fits.
_PEBBLING_SHARES = (0.1, 0.3)


def find_schedules(
    table: Table,
    limit_bytes: int,
    seconds: float,
    seed: int,
    techniques: Techniques,
    clock: Clock = WALL,
    known: Sequence[Steps] = (),
) -> Found:
    """Return schedules whose live bytes stay within ``limit_bytes``, the fastest first.

    Of equally fast ones, that of fewer bytes.

    Args:
        known: schedules that were found before, at any limit.
    """
    until = clock.now() + seconds
    gathering = Gathering(table, limit_bytes, seed, clock)
    found = gathering.found
    orders = _starting_orders(table, techniques)
    for order in orders:
        found.add(table, order, limit_bytes)
    improvable = found.fitting and found.fitting[0][0] > trip_time_lower_bound(table)
    if techniques.hasten and improvable:
        for _, _, steps in tuple(found.fitting):
            faster = hastened(table, steps, limit_bytes, until, clock)
            if faster is not None:
                found.add(table, faster, limit_bytes)
    if found.fitting and (found.fitting[0][0] <= trip_time_lower_bound(table) or clock.stop()):
        return found
    begin = found.fitting[0][2] if found.fitting else found.least
    for steps in (begin, *known):
        gathering.add(steps)

    def add_deep(share: float) -> None:
        if not techniques.pebbling or found.fitting:
            return
        end = clock.now() + share * (until - clock.now())
        for steps in deep_within(table, orders, limit_bytes, end, clock, seed):
            gathering.add(steps)

    if techniques.minimum_cuts and len(begin) >= _CUT_STEPS:
        end = clock.now() + _CUT_SHARE * (until - clock.now())
        for steps in schedules_of_cuts(table, orders, limit_bytes, end, clock):
            gathering.add(steps)
    if techniques.segments:
        share = _SEGMENTS_SHARES[0 if found.fitting else 1]
        end = clock.now() + share * (until - clock.now())
        for steps in schedules_of_segments(table, orders, limit_bytes, end, clock):
            gathering.add(steps)
    add_deep(_PEBBLING_SHARES[0])
    if techniques.greedy:
        share = _greedy_share(len(begin), again=bool(known)) if techniques.annealing else 1.0
        gathering.climb(orders, clock.now() + share * seconds, kinds=techniques.priorities)
    add_deep(_PEBBLING_SHARES[1])
    if techniques.annealing and found.least and clock.now() < until:
        gathering.anneal(until)
    return found


def _greedy_share(steps: int, *, again: bool) -> float:
    large = min(1.0, steps / _LARGE_STEPS)
    first = _GREEDY_SHARES[0] + large * (_GREEDY_SHARES[1] - _GREEDY_SHARES[0])
    return first * (_GREEDY_AGAIN + large * (1 - _GREEDY_AGAIN) if again else 1.0)


def _starting_orders(table: Table, techniques: Techniques) -> list[Steps]:
    """Return valid schedules; at least one is within the compute limit."""
    lean, traced_only = techniques.lean_starts, not techniques.starting_orders
    orders = starting_orders(table, lean=lean, traced_only=traced_only)
    if not any(table.within_compute(order) for order in orders):
        orders.append(tuple(needed_schedule(table, plain_ways(table))))
    return [order for order in orders if live_peak(table, order) is not None]


def smallest_peak(
    table: Table,
    lower_bytes: int,
    seconds: float,
    seed: int,
    clock: Clock = WALL,
    *,
    pebbling: bool = True,
) -> Found:
    """Look for the schedule of least peak: deep recomputation, greedy starts at falling
    limits, then annealing."""
    until = clock.now() + seconds
    midway = clock.now() + 0.7 * seconds
    chance = random.Random(seed)
    found = Found()
    orders = _starting_orders(table, Techniques())
    for order in orders:
        found.add(table, order, 0)
    if pebbling:
        for deep in deepest(table, orders, lower_bytes, clock.now() + 0.5 * seconds, clock):
            found.add(table, deep, 0)
    flat = flatten(table, 0)
    runs = [GreedyRuns(table, order, flat) for order in orders]
    while found.least_peak is not None and not clock.over(midway):
        if found.least_peak <= lower_bytes:
            return found
        aim = int(lower_bytes + (found.least_peak - lower_bytes) * chance.uniform(0.0, 1.0))
        which = chance.randrange(len(orders))
        schedule = runs[which].schedule(aim, random_exponents(chance), chance)
        clock.spend(_SECONDS_PER_STEP * len(schedule or orders[which]))
        if schedule is not None:
            found.add(table, schedule, 0)
    # Annealing towards limits that fall with what is reached.
    rounds = 6
    for number in range(rounds):
        if found.least_peak is None or found.least_peak <= lower_bytes or clock.stop():
            break
        limit = max(lower_bytes, int(found.least_peak * 0.95))
        end = clock.now() + max(0.0, until - clock.now()) / (rounds - number)
        workers = table.instance.request.workers
        steps, _ = anneal(
            table,
            found.least,
            limit,
            end,
            seed + number,
            lambda steps, _: found.add(table, steps, 0),
            clock,
            workers=workers,
            enough=True,
        )
        found.add(table, steps, 0)
    return found
