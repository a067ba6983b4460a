"""Leave out computations that a limit does not need: the dearest first, as long as all fits."""

from __future__ import annotations

import numpy as np

from memplan.solver.clock import WALL, Clock
from memplan.solver.local_search.compiled import compiled
from memplan.solver.local_search.flat import (
    Flat,
    Numbers,
    Scratch,
    flatten,
    scratch_for,
    to_options,
    to_schedule,
)
from memplan.solver.local_search.measure import measure, without_unread
from memplan.solver.schedule import Schedule, Table

__all__ = ["leave_out_once", "with_less_recomputed"]

#: Rounds; in each, computations of at least half the time of the round before are tried.
_ROUNDS = 6
#: What a trial takes, per step of the schedule; measured.
_SECONDS_PER_STEP = 3e-8


def with_less_recomputed(
    table: Table, schedule: Schedule, limit_bytes: int, until: float, clock: Clock = WALL
) -> tuple[tuple[int, int], ...]:
    """Return the schedule without computations that it does not need to stay within the limit.

    Readers are then served by the computation before.  If the schedule itself does not fit, it
    comes back as it is.
    """
    flat = flatten(table, limit_bytes, len(schedule))
    scratch = scratch_for(flat)
    steps = np.zeros(flat.longest, np.int64)
    trial = np.zeros(flat.longest, np.int64)
    length = len(schedule)
    steps[:length] = to_options(flat, schedule)
    if measure(flat, scratch, steps, length)[0] != 0:
        return tuple(schedule)
    dearest = max(table.time_ns[work][way] for work, way in schedule)
    for number in range(_ROUNDS):
        if clock.over(until):
            break
        least = dearest >> (number + 1) if number < _ROUNDS - 1 else 0
        clock.spend(_SECONDS_PER_STEP * length * length)
        length = leave_out_once(flat, scratch, steps, trial, length, least)
    return tuple(to_schedule(flat, steps[:length]))


@compiled
def leave_out_once(
    flat: Flat, scratch: Scratch, steps: Numbers, trial: Numbers, length: int, least_ns: int
) -> int:
    """Try every step of at least so much time once; return the new length."""
    step = length - 1
    measure(flat, scratch, steps, length)
    while step >= 0:
        option = steps[step]
        if flat.time_ns[option] >= least_ns and scratch.runs[flat.work_of[option]] > 1:
            trial[:step] = steps[:step]
            trial[step : length - 1] = steps[step + 1 : length]
            reached = without_unread(flat, scratch, trial, length - 1)
            overflow, _, _ = measure(flat, scratch, trial, reached)
            if overflow == 0:
                steps[:reached] = trial[:reached]
                length = reached
                step = min(step, length)
            else:
                measure(flat, scratch, steps, length)
        step -= 1
    return length
