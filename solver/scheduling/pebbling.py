"""The least live bytes of any schedule: a pebble game, searched from its end.

Going backwards, a state is (D, R): the operations that run once and are still to come before here,
and the items that must be there here.  The last thing that happened is a computation of an item of
R, or the one run of an operation of D that nothing of D or R needs any more.  Taking an operation
with reads A and writes W back leads from R to (R - W) | A; while it ran, R, A and W were there.
Nothing is said of how often other operations run, nor of the order.

    peak of a path = the most bytes of any of its steps;  wanted: the least peak to ({}, given)

Search goes on from the state of least peak so far; of equal ones from that with the fewest
operations still to come, then the fewest bytes.  So the first path that ends is one of least peak,
and at any time the least peak of the states that are open is a lower bound.  What makes that quick:

* *contained*: with the same D, what a set can be reached with suffices for its subsets.  So a state
  is left out if a subset was looked at before, and a move to a subset needs no alternative;
* *exchange*: a move at a peak that is reached anyway, to no more bytes, needs no alternative if
  nothing of D or of the rest of R needs what it takes back: put last in any history, the operation
  replaces its results, from where it was, by operands of no more bytes;
* a *limit*: peaks below it count as equal.  With the lower bound as the limit nothing is lost; with
  a budget the first path within it is found, which recomputes late and little.

The black pebble game with weights (Sethi, 1975, for straight-line code); for chains its answer is
what Rotor's dynamic program comes near to.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from memplan.solver.clock import WALL, Clock
from memplan.solver.scheduling.pebble_board import Board, Move, bits

__all__ = ["Pebbled", "deep_enough", "least_peak", "within"]

Steps = tuple[tuple[int, int], ...]
#: (operations to come, items that must be there), as bits.
State = tuple[int, int]

#: What one state takes; measured.
_SECONDS_PER_STATE = 3e-5
#: So many of the latest sets of the same D are asked whether they are contained.
_REMEMBERED = 30
#: States before a limit is given up, round by round.
_STATES = (1_000, 4_000, 16_000, 64_000)
#: One operation of D counts more than all others that are still to run.
_FIRST = 1 << 20
#: Most operations that are taken back at a time.
_LONGEST_DESCENT = 64
#: Parts of a limit that are tried as limits.
_PARTS = (1.0, 0.8, 0.6)
#: In each round limits are halved so often at most.
_HALVINGS = 8


@dataclass(frozen=True)
class Pebbled:
    """What a search came to.

    Attributes:
        steps: of least peak, or within the limit; None: none was found.
        bound_bytes: no schedule by the ways of the board has fewer live bytes at its peak, unless
            that is within the limit.
        is_complete: the search ended by itself.
    """

    steps: Steps | None
    bound_bytes: int
    is_complete: bool


def least_peak(
    board: Board, lower_bytes: int, upper_bytes: int, seconds: float, clock: Clock = WALL
) -> Pebbled:
    """Look for a schedule of least peak; where that takes too long, for one of a low peak.

    Args:
        lower_bytes: no schedule has a lower peak.
        upper_bytes: of a schedule that is known; others are of no interest.
    """
    until = clock.now() + seconds
    exact = within(board, lower_bytes, clock.now() + 0.3 * seconds, clock)
    if exact.is_complete:
        return exact
    high = upper_bytes
    best: Steps | None = None
    for states in _STATES:
        low = exact.bound_bytes
        for _ in range(_HALVINGS):
            if low >= high or clock.over(until):
                break
            limit = (low + high) // 2
            found = _first_within(board, limit, until, clock, states)
            if found is None:
                low = limit + 1
            else:
                best, high = found, limit
    return Pebbled(best, exact.bound_bytes, is_complete=False)


def deep_enough(
    board: Board,
    limit_bytes: int,
    until: float,
    clock: Clock = WALL,
    chance: Random | None = None,
) -> Steps | None:
    """Return a schedule whose live bytes stay within a limit, or None.

    Args:
        chance: breaks ties; with other draws, other schedules are found.
    """
    for states in _STATES:
        # Aiming lower now and then ends the holding of what must be given up later anyway.
        for part in _PARTS:
            limit = int(part * limit_bytes)
            found = _first_within(board, limit, until, clock, states, chance)
            if found is not None or clock.over(until):
                return found
    return None


def _first_within(
    board: Board,
    limit_bytes: int,
    until: float,
    clock: Clock,
    states: int,
    chance: Random | None = None,
) -> Steps | None:
    for in_order in (True, False):
        found = within(board, limit_bytes, until, clock, states, in_order=in_order, chance=chance)
        if found.steps is not None or found.is_complete:
            return found.steps
    return None


def within(
    board: Board,
    limit_bytes: int,
    until: float,
    clock: Clock = WALL,
    most_states: int = 1 << 40,
    *,
    in_order: bool = False,
    chance: Random | None = None,
) -> Pebbled:
    """Look for a schedule whose live bytes stay within a limit, else for one of least peak.

    It ends at the first that it finds, after so many states, or with the time.

    Args:
        in_order: of what runs once and fits, the last in traced order comes last.  That keeps
            together what reads the same gradient, and proves nothing.
        chance: breaks ties.
    """
    start: State = (board.once, board.kept)
    came_from: dict[State, tuple[State, tuple[int, ...]]] = {}
    reached: dict[State, int] = {start: limit_bytes}
    done: set[State] = set()
    earlier: dict[int, list[int]] = {}
    number = 0
    opened = [
        (
            limit_bytes,
            board.once.bit_count() * _FIRST,
            board.bytes_of(board.kept),
            0.0,
            number,
            start,
        ),
    ]
    while opened:
        peak, left, live, _, _, state = heapq.heappop(opened)
        to_come, there = state
        if state in done:
            continue
        done.add(state)
        if not to_come and not there & ~board.given:
            bound = 0 if in_order else peak
            return Pebbled(_path(board, came_from, start, state), bound, not in_order)
        before = earlier.setdefault(to_come, [])
        if any(smaller & there == smaller for smaller in before[-_REMEMBERED:]):
            continue
        before.append(there)
        if len(done) % 64 == 0:
            clock.spend(64 * _SECONDS_PER_STATE)
            if len(done) > most_states or clock.over(until):
                return Pebbled(None, 0 if in_order else peak, is_complete=False)
        for new_peak, new_left, new_live, new_state, works in _moves(
            board, peak, left, live, to_come, there, in_order, chance
        ):
            if new_state in done or reached.get(new_state, new_peak + 1) <= new_peak:
                continue
            reached[new_state] = new_peak
            came_from[new_state] = (state, works)
            number += 1
            tie = chance.random() if chance else 0.0
            heapq.heappush(opened, (new_peak, new_left, new_live, tie, number, new_state))
    return Pebbled(None, 0 if in_order else 1 << 62, not in_order)


#: (peak, what is left to do, live bytes, state, operations that were taken back).
Reached = tuple[int, int, int, State, tuple[int, ...]]


def _moves(
    board: Board,
    peak: int,
    left: int,
    live: int,
    to_come: int,
    there: int,
    in_order: bool,
    chance: Random | None,
) -> list[Reached]:
    """Return what could have happened last, as far as it is worth looking at."""
    producer = board.table.producer
    last = {producer[item] for item in bits(there & ~board.given) if item in producer}
    needed = board.needed_by(to_come)
    for work in last:
        needed |= board.needs[work]
    found: list[Reached] = []
    smaller: Reached | None = None
    candidates = [*bits(to_come & ~needed), *(w for w in last if not board.once >> w & 1)]
    if chance is not None:
        chance.shuffle(candidates)
    for work in candidates:
        move = board.moves[work]
        if move.changed_by & to_come or move.uses_up & there & ~move.writes:
            continue
        during, after = _bytes(board, move, live, there)
        once = board.once >> work & 1
        new = ((to_come & ~(1 << work)) if once else to_come, (there & ~move.writes) | move.reads)
        to_do = (left // _FIRST - once) * _FIRST + board.still_to_run(*new)
        reached = (max(peak, during), to_do, after, new, (work,))
        if during <= peak and after <= live and not needed >> work & 1:
            return [reached]  # exchange
        if during <= peak and not once and not new[1] & ~there:
            # The furthest, so that more will be contained.
            if smaller is None or work > smaller[4][0]:
                smaller = reached
            continue
        found.append(reached)
    if in_order:
        fitting = [one for one in found if one[1] < left and one[0] == peak]
        if fitting and to_come:
            return [max(fitting, key=lambda one: one[4]), *([smaller] if smaller else [])]
    if smaller is not None:  # contained
        return [*(one for one in found if one[1] < left and one[0] == peak), smaller]
    if to_come and all(one[1] >= left or one[0] > peak for one in found):
        found += _descents(board, peak, left, live, to_come, there, last)
    return found


def _descents(
    board: Board, peak: int, left: int, live: int, to_come: int, there: int, last: set[int]
) -> list[Reached]:
    """Return, per operation, what taking it and its producers back comes to once that saves bytes.

    A step that only exchanges a result for an operand of the same size leads nowhere by itself, and
    there are as many orders of such steps as states can be.
    """
    found = []
    producer = board.table.producer
    for first in last:
        if board.once >> first & 1:
            continue
        works: list[int] = []
        now, now_live, chain = there, live, {first}
        while chain and len(works) < _LONGEST_DESCENT:
            work = max(chain)
            chain.discard(work)
            move = board.moves[work]
            if move.changed_by & to_come or move.uses_up & now & ~move.writes:
                break
            during, after = _bytes(board, move, now_live, now)
            if during > peak:
                break
            works.append(work)
            chain.update(
                producer[item]
                for item in move.read_items
                if not now >> item & 1 and item in producer and not board.once >> producer[item] & 1
            )
            now, now_live = (now & ~move.writes) | move.reads, after
            if now_live < live:
                if len(works) > 1:
                    found.append((peak, left, now_live, (to_come, now), tuple(works)))
                break
    return found


def _bytes(board: Board, move: Move, live: int, there: int) -> tuple[int, int]:
    """Return the live bytes while an operation runs, and before it, if ``there`` is there after."""
    size = board.table.size
    fresh = sum(size[item] for item in move.written_items if not there >> item & 1)
    own = sum(size[item] for item in move.written_items)
    rest = there & ~move.writes
    more = sum(size[item] for item in move.read_items if not rest >> item & 1)
    after = live + fresh - own + more
    if move.uses_up:
        return max(after + move.workspace, live + fresh), after
    during = live + fresh + more + move.workspace
    taken: set[int] = set()
    for read, written in move.pairs:
        if not rest >> read & 1 and read not in taken and ~written not in taken:
            taken.update((read, ~written))
            during -= size[read]
    return during, after


def _path(
    board: Board, came_from: Mapping[State, tuple[State, tuple[int, ...]]], start: State, end: State
) -> Steps:
    steps = []
    state = end
    while state != start:
        state, works = came_from[state]
        steps += [(work, board.moves[work].way) for work in reversed(works)]
    return tuple(steps)
