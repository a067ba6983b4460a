"""The cheapest schedule over all orders, by a search from its end, in machine code.

The pebble game with prices.  As in ``scheduling/pebbling.py`` a state is (D, R): the operations
that run once and are still to come before here, and the items that must be there here.  The last
thing that happened is the one run of an operation of D that nothing of D or R needs any more, or,
at its price, a run of another operation that makes an item of R.  So a path to ({}, given) is a
schedule that fits, read backwards; every schedule that fits has one that costs no more; and nothing
is supposed about the order, or about how often and when anything runs.

States are taken by cost + what must be paid before them at least (A*): one run of each operation
that D or R need and that may run again.  The first that ends is of the least cost, and at any time
nothing costs less than the state that is next.

*Exchange*: a move to no more bytes needs no alternative if nothing of D or of the rest of R needs
what it takes back.  Put last in any history, the operation costs the same; from where it was, there
are operands of no more bytes in place of its results.

What is made once and read by such operations alone is there as long as some of its readers are not
in D, so it is no part of the state.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Integers
from memplan.solver.relaxation.bit_search import (
    ONE,
    Masks,
    Shorts,
    pop,
    push,
    scrambled,
    sum_table,
    sum_up,
    union_table,
    unite,
)

__all__ = ["MOST_BITS", "FlatGame", "States", "advance", "path_to", "prepare_order_search"]

#: Operations that run once, and items of each kind, fit into a word of bits.
MOST_BITS = 63
_MOST_PAID = 2**62


class FlatGame(NamedTuple):
    """A board in bits and arrays; operations that run once come first.

    Items are *tied* where they are made once and read by operations that run once, else *loose*.
    """

    once: int  # how many operations run once
    # Per operation:
    reads: Masks  # loose items
    writes: Masks
    tied_reads: Masks
    tied_writes: Masks
    workspace: Integers
    price: Integers  # 0 for what runs once
    waits_for: Masks  # operations that run once and must come later
    # Tables of sets (``bit_search``), of operations that run once:
    needs_once: Masks  # what must have run
    needs_again: Masks
    all_tied_reads: Masks
    all_tied_writes: Masks
    # ... of loose items, the producer included:
    item_needs_once: Masks
    item_needs_again: Masks
    loose_size: Integers
    # ... and of tied items, and of operations that may run again:
    tied_size: Integers
    prices: Integers
    given: int
    kept: int
    tied_kept: int


class States(NamedTuple):
    """States that came up.  What has not come up takes no memory."""

    to_come: Masks
    there: Masks
    worth: Integers
    #: What is left of ``_MOST_PAID``: of equal worth that comes first of which more is paid.
    left: Masks
    parent: Shorts
    action: Shorts
    heap: Shorts
    #: Whether a state was taken, or reached for less since.
    done: NDArray[np.bool_]
    table: Shorts
    #: How many there are, are open, and the least that is possible.
    counts: Integers

    @classmethod
    def of(cls, game: FlatGame, most_states: int) -> States:
        """Begin at the end of a game."""
        slots = 1
        while slots < 2 * most_states:
            slots *= 2
        states = cls(
            to_come=np.empty(most_states, np.uint64),
            there=np.empty(most_states, np.uint64),
            worth=np.empty(most_states, np.int64),
            left=np.empty(most_states, np.uint64),
            parent=np.empty(most_states, np.int32),
            action=np.empty(most_states, np.int32),
            heap=np.empty(most_states, np.int32),
            done=np.zeros(most_states, np.bool_),
            table=np.zeros(slots, np.int32),
            counts=np.array([1, 1, 0], np.int64),
        )
        states.to_come[0] = (1 << game.once) - 1
        states.there[0], states.worth[0], states.left[0] = game.kept, 0, _MOST_PAID
        states.parent[0] = states.action[0] = -1
        states.heap[0] = 0
        _enter(states, 0)
        return states


#: What ``advance`` says beside a state that ends.
MORE, NONE, FULL = -1, -2, -3


def path_to(states: States, end: int) -> list[int]:
    """Return the operations on the path of a state, in the order in which they run."""
    steps = []
    while states.parent[end] >= 0:
        steps.append(int(states.action[end]))
        end = int(states.parent[end])
    return steps


@functools.cache
def prepare_order_search() -> None:
    """Compile the search, or load what an earlier process compiled: some seconds, once."""
    bits, numbers = np.array([0, 1], np.uint64), np.ones(2, np.int64)
    none = np.zeros(2, np.uint64)
    unions, sums = union_table(none), sum_table(numbers)
    game = FlatGame(
        1, np.array([1, 0], np.uint64), bits, none, none, numbers, numbers, none,
        *(unions,) * 6, *(sums,) * 3, 0, 0, 0,
    )  # fmt: skip
    advance(game, 9, 9, 9, States.of(game, 8))


@compiled
def _slot(states: States, to_come: np.uint64, there: np.uint64) -> np.int64:
    """Return the slot of a state, or the free one where it belongs."""
    mask = len(states.table) - 1
    slot = np.int64(scrambled(there + scrambled(to_come, 1), 2)) & mask
    while True:
        known = states.table[slot] - 1
        if known < 0 or (states.to_come[known] == to_come and states.there[known] == there):
            return np.int64(slot)
        slot = (slot + 1) & mask


@compiled
def _enter(states: States, state: int) -> None:
    states.table[_slot(states, states.to_come[state], states.there[state])] = state + 1


@compiled
def _tied(game: FlatGame, to_come: np.uint64) -> np.uint64:
    """Return the tied items that are there: made before, and kept or read from here on."""
    behind = ((ONE << np.uint64(game.once)) - ONE) & ~to_come
    made = unite(to_come, game.all_tied_writes)
    return made & (unite(behind, game.all_tied_reads) | np.uint64(game.tied_kept))


@compiled
def _runs_again(game: FlatGame, to_come: np.uint64, there: np.uint64) -> np.uint64:
    """Return what must run before a state of what may run again."""
    return unite(to_come, game.needs_again) | unite(there, game.item_needs_again)


@compiled
def advance(game: FlatGame, limit: int, most: int, turns: int, states: States) -> int:
    """Take so many states; return the one that ends, or else ``MORE``, ``NONE`` or ``FULL``.

    Args:
        limit: bytes.
        most: schedules that cost more are of no interest.
    """
    ops = len(game.reads)
    made, count, least = states.counts
    after_to_come = np.empty(ops, np.uint64)
    after_there = np.empty(ops, np.uint64)
    moves = np.empty(ops, np.int32)
    given = np.uint64(game.given)
    end = MORE
    while end == MORE and turns > 0:
        if count == 0 or states.worth[states.heap[0]] > most:
            least = max(least, most + 1)
            end = NONE
            break
        if made + ops > len(states.worth):
            least = max(least, states.worth[states.heap[0]])
            end = FULL
            break
        count -= 1
        state = pop(states.heap, count, states.worth, states.left)
        if states.done[state]:
            continue
        states.done[state] = True
        turns -= 1
        least = max(least, states.worth[state])
        to_come, there = states.to_come[state], states.there[state]
        paid_here = _MOST_PAID - np.int64(states.left[state])
        if to_come == 0 and not there & ~given:
            end = state
            break
        needed = unite(to_come, game.needs_once)
        tied = _tied(game, to_come)
        live = sum_up(there, game.loose_size) + sum_up(tied, game.tied_size)
        found = 0
        for op in range(ops):
            rest = there & ~game.writes[op]
            bit = ONE << np.uint64(op)
            if op < game.once:
                if not to_come & bit or needed & bit:
                    continue
                if unite(rest, game.item_needs_once) & bit:
                    continue
                after_to_come[found] = to_come & ~bit
            else:
                if rest == there:
                    continue
                after_to_come[found] = to_come
            if game.waits_for[op] & to_come:
                continue
            after_there[found] = rest | game.reads[op]
            after_tied = (tied & ~game.tied_writes[op]) | game.tied_reads[op]
            during = game.workspace[op] + sum_up(
                after_there[found] | game.writes[op], game.loose_size
            )
            during += sum_up(after_tied | tied | game.tied_writes[op], game.tied_size)
            if during > limit:
                continue
            moves[found] = op
            found += 1
            after = sum_up(after_there[found - 1], game.loose_size)
            after += sum_up(after_tied, game.tied_size)
            if after > live:
                continue
            bit = ONE << np.uint64(max(0, op - game.once))
            if op < game.once or not _runs_again(game, to_come, rest) & bit:
                # Exchange: no other move.
                moves[0] = op
                after_to_come[0] = after_to_come[found - 1]
                after_there[0] = after_there[found - 1]
                found = 1
                break
        for move in range(found):
            new_to_come, new_there = after_to_come[move], after_there[move]
            paid = paid_here + game.price[moves[move]]
            ahead = sum_up(_runs_again(game, new_to_come, new_there), game.prices)
            worth = max(states.worth[state], paid + ahead)
            if worth > most:
                continue
            slot = _slot(states, new_to_come, new_there)
            known = states.table[slot] - 1
            if known >= 0:
                if states.left[known] >= np.uint64(_MOST_PAID - paid):
                    continue
                states.done[known] = True
            states.table[slot] = made + 1
            states.to_come[made], states.there[made] = new_to_come, new_there
            states.worth[made], states.left[made] = worth, np.uint64(_MOST_PAID - paid)
            states.parent[made], states.action[made] = state, moves[move]
            push(states.heap, count, made, states.worth, states.left)
            count += 1
            made += 1
    states.counts[0], states.counts[1], states.counts[2] = made, count, least
    return end
