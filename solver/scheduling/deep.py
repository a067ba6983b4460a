"""Schedules that recompute as deep as it takes: the pebble game on the ways of the starts.

Where nothing that evicts and recomputes fits, a schedule often exists still: one in which an
operand is computed again from far back, with next to nothing beside it, and again for the next
reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from memplan.solver.clock import Clock
from memplan.solver.local_search.leave_out import with_less_recomputed
from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.pebble_board import Board
from memplan.solver.scheduling.pebbling import deep_enough, least_peak

__all__ = ["deep_within", "deepest"]

Steps = tuple[tuple[int, int], ...]

#: Most sets of ways that are tried.
_BOARDS = 4
#: Parts of the limit at which more schedules are looked for.
_AIMS = (0.9, 0.8, 1.0, 0.7, 1.0)


def deep_within(
    table: Table,
    orders: Sequence[Steps],
    limit_bytes: int,
    until: float,
    clock: Clock,
    seed: int = 0,
) -> list[Steps]:
    """Return schedules whose live bytes stay within the limit, several where that is quick.

    They differ in ties, and so in how they can be packed.
    """
    found: list[Steps] = []
    chance = Random(seed)
    boards = list(_boards(table, orders))
    for number, board in enumerate(boards):
        if clock.over(until):
            break
        began = clock.now()
        share = (until - began) / (len(boards) - number)
        steps = deep_enough(board, limit_bytes, began + share, clock, chance if seed else None)
        if steps is None:
            continue
        found.append(with_less_recomputed(table, steps, limit_bytes, until, clock))
        # What aims lower leaves room to pack; it may not exist, so it gets little time.
        patience = 3.0 * (clock.now() - began)
        for part in _AIMS:
            end = min(until, clock.now() + patience)
            aim = int(part * limit_bytes)
            steps = deep_enough(board, aim, end, clock, chance)
            if steps is not None:
                less = with_less_recomputed(table, steps, aim, until, clock)
                if less not in found:
                    found.append(less)
    return found


def deepest(
    table: Table, orders: Sequence[Steps], lower_bytes: int, until: float, clock: Clock
) -> list[Steps]:
    """Return schedules of few live bytes, at most one per set of ways.

    Args:
        lower_bytes: no schedule has a lower peak.
    """
    found = []
    boards = list(_boards(table, orders))
    peaks = [peak for order in orders if (peak := live_peak(table, order)) is not None]
    least = min(peaks, default=lower_bytes)
    for number, board in enumerate(boards):
        if clock.over(until) or least <= lower_bytes:
            break
        seconds = (until - clock.now()) / (len(boards) - number)
        steps = least_peak(board, lower_bytes, least, seconds, clock).steps
        peak = None if steps is None else live_peak(table, steps)
        if steps is not None and peak is not None:
            least = min(least, peak)
            found.append(with_less_recomputed(table, steps, least, until, clock))
    return found


def _boards(table: Table, orders: Sequence[Steps]) -> Iterator[Board]:
    seen: list[dict[int, int]] = []
    for order in orders:
        ways = dict(order)
        if ways not in seen and len(seen) < _BOARDS:
            seen.append(ways)
            yield Board.of(table, order)
