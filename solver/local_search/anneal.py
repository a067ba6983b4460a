"""Annealing over schedules: every set of recomputations is a schedule, only its peak can be wrong.

Moves: free a tensor and compute it again (with the producers whose results are gone) before its
next use, drop a computation, shift a step, change the option of a step.  Cost: time, plus a price
for every byte-step above the limit, which rises while the schedule does not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search.flat import (
    Flat,
    Numbers,
    Scratch,
    flatten,
    scratch_for,
    to_options,
    to_schedule,
)
from memplan.solver.local_search.measure import measure
from memplan.solver.local_search.walk import STATE_LENGTH, walk
from memplan.solver.schedule import Schedule, Table

__all__ = ["anneal"]

Steps = list[tuple[int, int]]

#: What a move and its measurement take, per step of the schedule; measured.
_SECONDS_PER_STEP = 3e-8
#: ... and whatever its length.
_SECONDS_PER_MOVE = 1e-6
#: A walk returns to look at the clock after about so long.
_SECONDS_PER_TURN = 0.05
#: After so many turns without a better schedule a walk starts again from the best of all.
_PATIENCE = 40


@dataclass
class _Walker:
    """One walk: its schedules, its numbers, and its memory."""

    here: Scratch
    there: Scratch
    current: Numbers
    best: Numbers
    state: NDArray[np.float64]
    usual: Numbers

    @property
    def key(self) -> tuple[float, float]:
        """Overflow and time of the best schedule of this walk."""
        return float(self.state[2]), float(self.state[3])

    @property
    def schedule(self) -> Numbers:
        """The best schedule of this walk."""
        return self.best[: int(self.state[8])]


def anneal(
    table: Table,
    start: Schedule,
    limit_bytes: int,
    until: float,
    seed: int,
    on_better: Callable[[Steps, int], object],
    clock: Clock = WALL,
    *,
    workers: int = 1,
    enough: bool = False,
) -> tuple[Steps, int]:
    """Improve a schedule until the clock reaches ``until``.

    Args:
        on_better: called with (schedule, time_ns) at schedules that fit and are faster than those
            before.
        workers: walks that run side by side.
        enough: end at the first schedule that fits.

    Returns:
        The schedule of least overflow, then least time, and its overflow in byte-steps.
    """
    flat = flatten(table, limit_bytes, len(start))
    options = to_options(flat, start)
    scratch = scratch_for(flat)
    overflow, time_ns, _ = (
        measure(flat, scratch, options, len(options))
        if len(options) <= flat.longest
        else (-1, 0, 0)
    )
    if overflow < 0:
        return list(start), 1 << 62
    walkers = [_walker(flat, options, overflow, time_ns) for _ in range(workers)]
    best, best_key = options, (float(overflow), float(time_ns))
    stale = [0] * workers
    turn = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="memplan-anneal") as executor:
        while not clock.over(until) and not (enough and not best_key[0]):
            move_seconds = _SECONDS_PER_MOVE + _SECONDS_PER_STEP * len(best)
            rounds = max(20, int(_SECONDS_PER_TURN / move_seconds))
            turn += 1
            jobs = [
                executor.submit(
                    walk,
                    flat,
                    each.here,
                    each.there,
                    each.current,
                    each.best,
                    each.state,
                    each.usual,
                    (seed * 7919 + turn * 64 + number) % 2**31,
                    rounds,
                )
                for number, each in enumerate(walkers)
            ]
            for job in jobs:
                job.result()
            clock.spend(rounds * move_seconds)
            for number, each in enumerate(walkers):
                stale[number] += 1
                if each.key < best_key:
                    best, best_key = each.schedule.copy(), each.key
                    stale[number] = 0
                    if not best_key[0]:
                        on_better(to_schedule(flat, best), int(best_key[1]))
                elif stale[number] > _PATIENCE and each.key > best_key:
                    walkers[number] = _walker(flat, best, *best_key)
                    stale[number] = 0
    return to_schedule(flat, best), int(best_key[0])


def _walker(flat: Flat, options: Numbers, overflow: float, time_ns: float) -> _Walker:
    current, best = np.zeros((2, flat.longest), np.int64)
    current[: len(options)] = best[: len(options)] = options
    usual = np.array(
        [
            next(
                (o for o in range(first, end) if flat.allowed[o]),
                first,
            )
            for first, end in zip(flat.first_option[:-1], flat.first_option[1:], strict=True)
        ],
        np.int64,
    )
    usual[flat.work_of[options]] = options
    state = np.zeros(STATE_LENGTH)
    state[0:4] = overflow, time_ns, overflow, time_ns
    state[7:9] = len(options)
    return _Walker(scratch_for(flat), scratch_for(flat), current, best, state, usual)
