"""A walk of simulated annealing, some rounds at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.local_search.flat import Flat, Numbers, Scratch
from memplan.solver.local_search.measure import measure, without_unread
from memplan.solver.local_search.moves import change_option, drop, evict, shift

__all__ = ["BEST_OVERFLOW", "BEST_TIME", "STATE_LENGTH", "walk"]

#: Where a walk keeps its numbers.
OVERFLOW, TIME, BEST_OVERFLOW, BEST_TIME, PRICE, TEMPERATURE, ROUND = range(7)
LENGTH, BEST_LENGTH, STATE_LENGTH = 7, 8, 9

#: Share of the time of the schedule at which the walk is warm, and where it is cold.
_WARM, _COLD = 3e-3, 1e-5
#: When it is warm again, that is the time of so many steps at least: else one more step, which
#: helps only together with another move, is never taken on a small graph.
_WARM_STEPS = 2.0
#: What a byte-step above the limit costs, in the average time of one: at first, and when it is warm
#: again.  The first is near to what the search begins with, the others look further.
_PRICE, _PRICE_AGAIN = 20.0, 2.0


@compiled
def _heat(flat: Flat, state: NDArray[np.float64], length: int, share: float, price: float) -> None:
    """Set the temperature and the price of bytes for a schedule of so many steps."""
    state[5] = share * state[1]
    state[4] = price * state[1] / max(1, flat.limit_bytes * length)


@compiled
def walk(
    flat: Flat,
    here: Scratch,
    there: Scratch,
    current: Numbers,
    best: Numbers,
    state: NDArray[np.float64],
    usual: Numbers,
    seed: int,
    rounds: int,
) -> None:
    """Walk for ``rounds`` moves from ``current``; its state is read from and left in the arrays.

    Cost: time, plus a price for every byte-step above the limit, which rises while the schedule
    does not fit.  ``usual`` is the option by which a work is computed again.  ``here`` holds the
    instances of ``current``, ``there`` those of the trial.
    """
    np.random.seed(seed)
    length = int(state[7])
    measure(flat, here, current, length)
    if state[6] == 0.0:
        _heat(flat, state, length, _WARM, _PRICE)
    every = max(200, 4 * length)
    for _ in range(rounds):
        state[6] += 1.0
        if int(state[6]) % every == 0:
            state[5] *= 0.9
            state[4] *= 1.3 if state[0] > 0.0 else 0.8
            if state[5] < state[1] * _COLD:
                length = int(state[8])
                current[:length] = best[:length]
                state[0], state[1] = state[2], state[3]
                share = max(_WARM, _WARM_STEPS / length)
                _heat(flat, state, length, share, _PRICE_AGAIN)
                measure(flat, here, current, length)
        kind = np.random.random()
        if kind < 0.35:
            reached = evict(flat, here, current, length, usual)
        elif kind < 0.6:
            reached = drop(flat, here, current, length)
        elif kind < 0.95:
            reached = shift(flat, here, current, length)
        else:
            reached = change_option(flat, here, current, length, usual)
        if reached == 0:
            continue
        trial = here.trial
        reached = without_unread(flat, there, trial, reached)
        overflow, time_ns, macs = measure(flat, there, trial, reached)
        accept = overflow >= 0 and (flat.macs_limit < 0 or macs <= flat.macs_limit)
        if accept:
            change = time_ns - state[1] + state[4] * (overflow - state[0])
            if change > 0.0:
                accept = np.random.random() < math.exp(-change / max(state[5], 1e-9))
        if not accept:
            continue
        length = reached
        current[:length] = trial[:length]
        here, there = there, here
        for step in range(length):
            usual[flat.work_of[current[step]]] = current[step]
        state[0], state[1] = overflow, time_ns
        if overflow < state[2] or (overflow == state[2] and time_ns < state[3]):
            best[:length] = current[:length]
            state[2], state[3], state[8] = overflow, time_ns, length
    state[7] = length
