"""The cheapest schedule over all orders of a small board, and what no schedule costs less than."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from memplan.solver.clock import Clock
from memplan.solver.packing.flat import Integers
from memplan.solver.relaxation.bit_search import Masks, sum_table, union_table
from memplan.solver.relaxation.order_search import (
    MORE,
    MOST_BITS,
    FlatGame,
    States,
    advance,
    path_to,
)
from memplan.solver.schedule import Schedule
from memplan.solver.scheduling.pebble_board import Board, bits

__all__ = ["MOST_STATES", "CheapestOrder", "flat_game"]

#: States at most, of all searches that go on side by side: some two hundred million bytes.
MOST_STATES = 4_000_000
#: States that are taken before anybody looks at the clock.
_TURNS = 20_000
#: What a state takes that comes up; measured.
_SECONDS_PER_STATE = 1e-6
#: Costs beyond do not go into whole numbers of the machine.
_MOST = 2**60


def flat_game(board: Board) -> FlatGame | None:
    """Return a board for the search; None where it is too large."""
    table, moves = board.table, board.moves
    once = list(bits(board.once))
    again = _again(board)
    loose, tied = _items(board)
    if max(len(once), len(again), len(loose), len(tied)) > MOST_BITS:
        return None
    once_bit = {work: 1 << number for number, work in enumerate(once)}
    again_bit = {work: 1 << number for number, work in enumerate(again)}
    loose_bit = {item: 1 << number for number, item in enumerate(loose)}
    tied_bit = {item: 1 << number for number, item in enumerate(tied)}

    def needs(item: int, of: Mapping[int, int]) -> int:
        producer = table.producer.get(item)
        if producer is None:
            return 0
        return of.get(producer, 0) | _union(bits(board.needs[producer]), of)

    works = [*once, *again]
    own = [moves[work] for work in works]
    prices = [table.time_ns[work][moves[work].way] for work in again]
    return FlatGame(
        once=len(once),
        reads=_words(_union(move.read_items, loose_bit) for move in own),
        writes=_words(_union(move.written_items, loose_bit) for move in own),
        tied_reads=_words(_union(move.read_items, tied_bit) for move in own),
        tied_writes=_words(_union(move.written_items, tied_bit) for move in own),
        workspace=_numbers(move.workspace for move in own),
        price=_numbers([*(0 for _ in once), *prices]),
        waits_for=_words(_union(bits(move.changed_by), once_bit) for move in own),
        needs_once=_unions(_union(bits(board.needs[work]), once_bit) for work in once),
        needs_again=_unions(_union(bits(board.needs[work]), again_bit) for work in once),
        all_tied_reads=_unions(_union(moves[work].read_items, tied_bit) for work in once),
        all_tied_writes=_unions(_union(moves[work].written_items, tied_bit) for work in once),
        item_needs_once=_unions(needs(item, once_bit) for item in loose),
        item_needs_again=_unions(needs(item, again_bit) for item in loose),
        loose_size=_sums(table.size[item] for item in loose),
        tied_size=_sums(table.size[item] for item in tied),
        prices=_sums(prices),
        given=_union(table.given, loose_bit),
        kept=_union(table.kept, loose_bit),
        tied_kept=_union(table.kept, tied_bit),
    )


def _again(board: Board) -> list[int]:
    """Return the operations that may run again."""
    return [work for work in board.moves if not board.once >> work & 1]


def _items(board: Board) -> tuple[list[int], list[int]]:
    """Return the items of a board that are loose, and those that are tied."""
    loose = set(board.table.given)
    made: set[int] = set()
    for work, move in board.moves.items():
        made.update(move.written_items)
        if not board.once >> work & 1:
            loose.update(move.read_items, move.written_items)
    return sorted(loose), sorted(made - loose)


def _union(members: Iterable[int], bit: Mapping[int, int]) -> int:
    union = 0
    for member in members:
        union |= bit.get(member, 0)
    return union


def _words(sets: Iterable[int]) -> Masks:
    # Machine code wants one element at least.
    return np.array([*sets] or [0], np.uint64)


def _unions(sets: Iterable[int]) -> Masks:
    return union_table(np.array([*sets], np.uint64))


def _sums(numbers: Iterable[int]) -> Integers:
    return sum_table(np.array([*numbers], np.int64))


def _numbers(numbers: Iterable[int]) -> Integers:
    return np.array([*numbers] or [0], np.int64)


@dataclass
class CheapestOrder:
    """A search that goes on from where it was.

    Attributes:
        board: by one way for each operation.
        game: the same for the search.
        limit_bytes: of what is live.
        schedule: of the least time; None: not found yet, or there is none.
        is_over: it has ended by itself, or nothing more fits into memory.
        lowered_ns: the time of which the smallest plan was looked for, if it was.
        most_states: how many it may keep in memory.
    """

    board: Board
    game: FlatGame
    limit_bytes: int
    schedule: Schedule | None = None
    is_over: bool = False
    lowered_ns: int | None = None
    most_states: int = MOST_STATES
    _states: States | None = field(default=None, repr=False)
    #: Of what may run again: no schedule costs less, and those that cost more were left out.
    _least: int = 0
    _most: int = _MOST

    @property
    def least_ns(self) -> int:
        """Return what no schedule takes less time than, as far as is proved."""
        return self._once_ns + self._least

    def advance(self, below_ns: int | None, seconds: float, clock: Clock) -> None:
        """Search for about so many seconds, for a schedule of less time.

        If there is none, ``least_ns`` is that time.

        Args:
            below_ns: None: of any time.
        """
        if below_ns is not None:
            self._most = min(self._most, below_ns - 1 - self._once_ns)
        until = clock.now() + seconds
        if self.is_over or self._least > self._most or clock.over(until):
            return
        if self._states is None:
            self._states = States.of(self.game, self.most_states)
        states, end = self._states, MORE
        while end == MORE and not clock.over(until):
            known = int(states.counts[0])
            end = advance(self.game, self.limit_bytes, self._most, _TURNS, states)
            clock.spend((int(states.counts[0]) - known) * _SECONDS_PER_STATE)
        self._least = max(self._least, int(states.counts[2]))
        if end == MORE:
            return
        if end >= 0:
            works = [*bits(self.board.once), *_again(self.board)]
            steps = (works[step] for step in path_to(states, end))
            self.schedule = tuple((work, self.board.moves[work].way) for work in steps)
        self.is_over, self._states = True, None

    def trip_ns(self, schedule: Schedule) -> int:
        """Return the time of a schedule."""
        return self.board.table.trip_time_ns(schedule)

    @property
    def _once_ns(self) -> int:
        table, moves = self.board.table, self.board.moves
        return sum(table.time_ns[work][moves[work].way] for work in bits(self.board.once))
