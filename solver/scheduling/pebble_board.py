"""The board of the pebble game: one way per operation, sets of operations and items as bits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from memplan.solver.schedule import Schedule, Table

__all__ = ["Board", "Move", "bits", "is_the_game"]


@dataclass(frozen=True)
class Move:
    """An operation, by the one way in which it runs."""

    way: int
    reads: int
    writes: int
    read_items: tuple[int, ...]
    written_items: tuple[int, ...]
    workspace: int
    pairs: tuple[tuple[int, int], ...]
    #: Bit of the item that is used up, or 0.
    uses_up: int
    #: Operations of D that must come later: they change what this one reads.
    changed_by: int


@dataclass
class Board:
    """One way for each operation that is needed, as bits.

    Attributes:
        once: operations that run exactly once.
        needs: per operation, all that must have run before it does.
    """

    table: Table
    moves: Mapping[int, Move]
    once: int
    needs: Mapping[int, int]
    given: int
    kept: int
    _needed: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table, steps: Schedule) -> Board:
        """Return the board of what runs in ``steps``, by its ways.

        Args:
            steps: any valid schedule; its order does not count.
        """
        ways = dict(steps)
        works = table.instance.works
        once = sum(
            1 << work
            for work in ways
            if table.most_computations[work] == 1
            or works[work].demanded[0]
            or any(table.covers[work][ways[work]])
        )
        changing: dict[str, set[int]] = {}
        for work, way in ways.items():
            for store in table.mutates[work][way]:
                changing.setdefault(store, set()).add(work)
        moves: dict[int, Move] = {}
        needs: dict[int, int] = {}
        for work in sorted(ways):
            way = ways[work]
            reads, writes = table.reads[work][way], table.writes[work]
            stores = table.stores[work][way]
            spent = table.uses_up[work][way]
            moves[work] = Move(
                way,
                bits_of(reads),
                bits_of(writes),
                reads,
                writes,
                table.workspace[work][way],
                table.pairs[work][way],
                1 << spent if spent >= 0 else 0,
                bits_of({other for store in stores for other in changing.get(store, ())} - {work}),
            )
            needs[work] = 0
            for item in reads:
                producer = table.producer.get(item)
                if producer is not None:
                    needs[work] |= needs[producer] | 1 << producer
        return cls(table, moves, once, needs, bits_of(table.given), bits_of(table.kept))

    def needed_by(self, to_come: int) -> int:
        """Return what the operations to come need to have run."""
        found = self._needed.get(to_come)
        if found is None:
            found = 0
            for work in bits(to_come):
                found |= self.needs[work]
            self._needed[to_come] = found
        return found

    def still_to_run(self, to_come: int, there: int) -> int:
        """Return how many operations must run before the state is reached, once at least."""
        if to_come:
            return 0  # the same for most states, which look back to the inputs all the same
        producer = self.table.producer
        found = 0
        for item in bits(there & ~self.given):
            found |= self.needs[producer[item]] | 1 << producer[item]
        return found.bit_count()

    def bytes_of(self, items: int) -> int:
        """Return the bytes of a set of items."""
        size = self.table.size
        return sum(size[item] for item in bits(items))


def is_the_game(table: Table, steps: Schedule) -> bool:
    """Tell whether every plan of a fixed instance is a history of the pebble game.

    Args:
        steps: what must run.
    """
    works = table.instance.works
    return not table.instance.coverable and all(
        len(table.allowed[work]) == 1
        and not table.pairs[work][way]
        and table.uses_up[work][way] < 0
        and (table.most_computations[work] == 1 or not works[work].demanded[0])
        for work, way in steps
    )


def bits_of(numbers: Collection[int]) -> int:
    return sum(1 << number for number in set(numbers))


def bits(number: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, ascending."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
