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
from memplan.solver.pebbling import Board, deep_enough, least_peak
from memplan.solver.schedule import Table, live_peak

__all__ = ["deep_within", "deepest"]

Steps = tuple[tuple[int, int], ...]

#: Most sets of ways that are tried.
_BOARDS = 4
#: Schedules that are looked for of each.
_VARIANTS = 6


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
    for number in range(_VARIANTS * len(boards)):
        if clock.over(until):
            break
        board = boards[number % len(boards)]
        end = clock.now() + (until - clock.now()) / max(1, len(boards) - number)
        draws = chance if seed or number >= len(boards) else None
        steps = deep_enough(board, limit_bytes, end, clock, draws)
        if steps is not None:
            less = with_less_recomputed(table, steps, limit_bytes, end, clock)
            if less not in found:
                found.append(less)
        elif number + 1 >= len(boards) and not found:
            break
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
