"""Lower bounds on bytes that hold for every plan the request allows.

Three arguments, joined.  They restrict neither order, nor the number of computations, nor the
alternatives, so a budget below them is proved infeasible.

* *Working set*: while an operation runs, its operands, results and workspace are there.
* *Forced*: a tensor that is computed only once is there between its producer and its last reader;
  an operation that must run after the one and before the other has it beside its own.
* *Looking back*: of the operands of an operation, one was computed last.  While that was
  computed, the others were there already, beside the operands of its own producer; and so on.
  The bound is the least over which came last, to a limited depth.

Where a layer's update option is open, sizes are the least over the options.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from memplan.ir.sizes import frozen_bytes
from memplan.solver.clock import WALL, Clock
from memplan.solver.instance import Instance, Way

__all__ = ["ByteBound", "exceeds", "excess_at", "lower_bound"]

_DEPTH = 12
_NODES = 3_000
#: The same where the question is only whether a budget is exceeded.
_NODES_TO_EXCEED = 200
#: Works from which it looks back if not thoroughly.
_FEW = 1
#: What one node of a history takes, measured.
_SECONDS_PER_NODE = 1e-5


@dataclass(frozen=True, slots=True)
class ByteBound:
    """A proven least number of bytes, and the operation whose working set sets it."""

    bytes: int
    operation: str
    #: Tensors that must be there at once, with their least sizes.
    tensors: tuple[tuple[str, int], ...]
    #: Weights beside the arena that count against the budget too.
    frozen_bytes: int = 0
    #: Inputs of a resident batch that a plan might do without.
    unread: tuple[str, ...] = ()

    @property
    def budget_bytes(self) -> int:
        """Least budget."""
        return self.bytes + self.frozen_bytes


def lower_bound(
    instance: Instance, seconds: float = 2.0, clock: Clock = WALL, *, look_back: bool = True
) -> ByteBound:
    """Return a bound on the arena of every plan for ``instance``.

    Args:
        look_back: at what was there before an operation, too.
    """
    return _Bounds(instance, clock.now() + seconds, clock).best(look_back=look_back)


def exceeds(
    instance: Instance,
    budget_bytes: int,
    seconds: float = 2.0,
    clock: Clock = WALL,
    *,
    look_back: bool = True,
) -> bool:
    """Tell whether every plan for ``instance`` is proved to take more than a budget.

    By the same arguments as ``lower_bound``, which end as soon as one of them says so, and with
    shorter histories.
    """
    return excess_at(instance, budget_bytes, seconds, clock, look_back=look_back) is not None


def excess_at(
    instance: Instance,
    budget_bytes: int,
    seconds: float = 2.0,
    clock: Clock = WALL,
    *,
    look_back: bool = True,
    likely: Sequence[int] = (),
    thorough: bool = True,
) -> int | None:
    """Return the work at which ``exceeds`` sees it, -1 outside of the body; None: it does not.

    Args:
        likely: works from which it looks back first.
        thorough: look back from all others too, and not only from a few with the most bytes.
    """
    bounds = _Bounds(instance, clock.now() + seconds, clock, _NODES_TO_EXCEED)
    if not look_back:
        return bounds.excess_at(budget_bytes, (), 0)
    return bounds.excess_at(budget_bytes, likely, None if thorough else _FEW)


class _Bounds:
    def __init__(
        self, instance: Instance, until: float, clock: Clock, most_nodes: int = _NODES
    ) -> None:
        self.instance = instance
        self.most_nodes = self.nodes = most_nodes
        self.until, self.clock = until, clock
        self.size = [min(item.size_bytes) for item in instance.items]
        self.given = {i for i, item in enumerate(instance.items) if item.given}
        self.producer = instance.producer
        works = instance.works
        self.ways = [
            [way for way in work.ways if any(t is not None for t in way.time_ns)] for work in works
        ]
        self.ancestors = self._ancestors()
        #: As bits.
        self.must = self._must_run()
        #: Per work that must run: items that are there while it first runs, and that are read
        #: later by others.
        self.forced: list[set[int]] = [set() for _ in works]
        self.beyond: list[set[int]] = [set() for _ in works]
        self._find_forced()

    def _ancestors(self) -> list[int]:
        """Return for each work the set (as bits) of works that must run before it does.

        Whatever way it runs by: those that every way needs, directly or through others.
        """
        ancestors = [0] * len(self.instance.works)
        for index, ways in enumerate(self.ways):
            common = -1
            for way in ways:
                common &= self._before(way, ancestors)
            ancestors[index] = max(0, common)
        return ancestors

    def _before(self, way: Way, ancestors: list[int]) -> int:
        """Return the works that must run before ``way`` can."""
        before = 0
        for item in way.reads:
            producer = self.producer.get(item)
            if producer is not None:
                before |= ancestors[producer] | 1 << producer
        return before

    def _must_run(self) -> int:
        """Return the works that run in every plan: demanded, kept, or before one of those."""
        must = 0
        for index, work in enumerate(self.instance.works):
            demanded = all(work.demanded) and index not in self.instance.coverable
            if demanded or any(self.instance.items[i].kept for i in work.writes):
                must |= self.ancestors[index] | 1 << index
        return must

    def _stores(self) -> int:
        """Return the least bytes that stores take, with one layer updated at least."""
        per_option = [[0] * len(choice.options) for choice in self.instance.choices]
        total = 0
        for store in self.instance.stores:
            if self.instance.graph.tensor[store.tensor].role in ("input", "label"):
                total += store.size_bytes[0] if store.tensor in self._always_resident() else 0
            elif store.choice < 0 or len(store.size_bytes) == 1:
                total += store.size_bytes[0]
            else:
                for option, size in enumerate(store.size_bytes):
                    per_option[store.choice][option] += size
        least = [min(options) for options in per_option]
        total += sum(least)
        extra = [
            size - least[index]
            for index, options in enumerate(per_option)
            for size, update in zip(options, self.instance.choices[index].options, strict=True)
            if update is not None
        ]
        if self.instance.graph.mode == "train" and extra:
            total += min(extra)
        return total

    def _always_resident(self) -> set[str]:
        """Return what every way of an operation that must run needs of stores.

        It may read them itself, or an operation does whose results it reads.
        """
        needed: list[frozenset[str]] = []
        for ways in self.ways:
            by_way = [
                frozenset(way.stores).union(
                    *(needed[self.producer[item]] for item in way.reads if item in self.producer)
                )
                for way in ways
            ]
            needed.append(frozenset.intersection(*by_way) if by_way else frozenset())
        return set().union(*(needed[index] for index in _bits(self.must)))

    def _perhaps_unread(self) -> tuple[str, ...]:
        always = self._always_resident()
        tensors = self.instance.graph.tensor
        return tuple(
            store.tensor
            for store in self.instance.stores
            if tensors[store.tensor].role in ("input", "label") and store.tensor not in always
        )

    def best(self, *, look_back: bool) -> ByteBound:
        """Return the highest bound over all operations that must run."""
        instance = self.instance
        base = self._stores()
        found: tuple[int, int, frozenset[int]] = (self._outside(), -1, frozenset())
        candidates = self._working_sets()
        for value, index, live in candidates:
            if value > found[0]:
                found = (value, index, live)
        for _, index, live in candidates if look_back else ():
            if self.clock.over(self.until):
                break
            value = self._look_back(index, found[0])
            if value > found[0]:
                found = (value, index, live)
        value, index, live = found
        tensors = sorted(
            ((instance.items[i].tensor, self.size[i]) for i in live), key=lambda t: -t[1]
        )
        name = instance.works[index].operation if index >= 0 else ""
        return ByteBound(base + value, name, tuple(tensors), self._frozen(), self._perhaps_unread())

    def excess_at(self, budget_bytes: int, likely: Sequence[int], others: int | None) -> int | None:
        """Return the work at which the bound is above a budget; see the function.

        Args:
            others: of so many works that take most, beside those that are likely; None: all.
        """
        room = budget_bytes - self._frozen() - self._stores()
        if self._outside() > room:
            return -1
        candidates = self._working_sets()
        if candidates and candidates[0][0] > room:
            return candidates[0][1]
        first = [index for index in likely if self.must >> index & 1]
        rest = [index for _, index, _ in candidates[:others] if index not in first]
        for index in (*first, *rest):
            if self.clock.over(self.until):
                return None
            if self._look_back(index, room) > room:
                return index
        return None

    def _working_sets(self) -> list[tuple[int, int, frozenset[int]]]:
        """Return (bytes, work, items) of all that must run, the largest first."""
        found = []
        for index in _bits(self.must):
            value, live = self._working_set(index)
            found.append((value, index, live))
        found.sort(key=lambda entry: -entry[0])
        return found

    def _frozen(self) -> int:
        """Return the bytes of weights that count beside the arena, where the mask is given."""
        instance = self.instance
        device = instance.request.device
        if device is None or device.weights != "ram" or not instance.fixed:
            return 0
        return frozen_bytes(instance.graph, instance.samples, instance.mask())

    def _outside(self) -> int:
        """Return the least workspace of the epilogue, beside the stores."""
        instance = self.instance
        if instance.outside_ways > 1:
            return 0  # another way may need less
        return max((min(sizes) for _, sizes in instance.outside_workspace_bytes), default=0)

    def _find_forced(self) -> None:
        """Fill ``forced`` and ``beyond``, as far as time allows."""
        works = self.instance.works
        readers: dict[int, set[int]] = {}
        for index, ways in enumerate(self.ways):
            for way in ways:
                for item in way.reads:
                    readers.setdefault(item, set()).add(index)
        behind = _transposed(self.ancestors)
        for item in range(len(self.size)):
            before = self.producer.get(item)
            if before is None and item not in self.given:
                continue
            if (before is not None and works[before].recomputable) or not self.size[item]:
                continue
            if self.clock.over(self.until):
                break
            during, after = self._read_after(item, readers)
            if self.instance.items[item].kept:
                during = after = self.must
            there = during & self.must & (-1 if before is None else behind[before])
            for index in _bits(there):
                self.forced[index].add(item)
                if after >> index & 1:
                    self.beyond[index].add(item)

    def _read_after(self, item: int, readers: dict[int, set[int]]) -> tuple[int, int]:
        """Return works that in every plan run no later than, and before, some read of ``item``.

        A work that must run reads it by one way or through another work by another: what all
        ways have in common holds.
        """
        during = after = 0
        # What is known of works that need not run, for those that read their results.
        known: dict[int, tuple[int, int]] = {}
        waiting = sorted(readers.get(item, ()))
        seen = set(waiting)
        while waiting:
            index = heapq.heappop(waiting)
            both = (-1, -1)
            for way in self.ways[index]:
                found = (0, 0)
                if item in way.reads:
                    before = self._before(way, self.ancestors)
                    found = (before | 1 << index, before)
                for read in way.reads:
                    through = known.get(self.producer.get(read, -1), (0, 0))
                    found = (found[0] | through[0], found[1] | through[1])
                both = (both[0] & found[0], both[1] & found[1])
            if both[0] <= 0:
                continue
            if self.must >> index & 1:
                during, after = during | both[0], after | both[1]
                continue
            known[index] = both
            for written in self.instance.works[index].writes:
                for reader in readers.get(written, ()):
                    if reader not in seen:
                        seen.add(reader)
                        heapq.heappush(waiting, reader)
        return during, after

    def _working_set(self, index: int) -> tuple[int, frozenset[int]]:
        forced, beyond = frozenset(self.forced[index]), self.beyond[index]
        return min(
            (
                self._bytes_during(index, way_number, forced, beyond)
                for way_number in range(len(self.ways[index]))
            ),
            key=lambda found: found[0],
        )

    def _bytes_during(
        self, index: int, way_number: int, present: frozenset[int], beyond: Collection[int]
    ) -> tuple[int, frozenset[int]]:
        """Return bytes while a work runs beside ``present``; ``beyond`` must survive it."""
        work, way = self.instance.works[index], self.ways[index][way_number]
        if way.uses_up >= 0:
            # What is written begins to live when the operands that no one else needs are gone.
            before = present.union(way.reads) - frozenset(work.writes)
            after = frozenset(beyond).union(work.writes)
            value = sum(self.size[item] for item in before) + min(way.workspace_bytes)
            later = sum(self.size[item] for item in after)
            return (value, before) if value >= later else (later, after)
        live = present.union(way.reads, work.writes)
        value = sum(self.size[item] for item in live) + min(way.workspace_bytes)
        reusable: dict[int, int] = {}
        for read, written in way.in_place:
            if read not in beyond:
                shared = min(self.size[read], self.size[written])
                reusable[written] = max(reusable.get(written, 0), shared)
        return value - sum(reusable.values()), live

    def _look_back(self, index: int, floor: int) -> int:
        """Return the least peak of histories of a work; any figure up to ``floor`` is as good."""
        forced, beyond = frozenset(self.forced[index]), self.beyond[index]
        best = None
        for way_number, way in enumerate(self.ways[index]):
            during, _ = self._bytes_during(index, way_number, forced, beyond)
            before = forced.union(way.reads) - frozenset(self.instance.works[index].writes)
            self.nodes = self.most_nodes
            value = self._least_history(before, during, _DEPTH, best, floor)
            self.clock.spend(_SECONDS_PER_NODE * (self.most_nodes - self.nodes))
            best = value if best is None else min(best, value)
        return best or 0

    def _least_history(
        self, present: frozenset[int], so_far: int, depth: int, stop: int | None, floor: int
    ) -> int:
        """Return the least peak of any history that ends with all of ``present`` there.

        Once one has no more than ``floor``, no more are looked for.
        """
        self.nodes -= 1
        if depth == 0 or self.nodes < 0 or (stop is not None and so_far >= stop):
            return so_far
        best: int | None = None
        options = []
        for last in {self.producer[item] for item in present if item in self.producer}:
            written = frozenset(self.instance.works[last].writes)
            rest = present - written
            for way_number, way in enumerate(self.ways[last]):
                value, _ = self._bytes_during(last, way_number, present, rest)
                options.append((max(value, so_far), last, way, rest))
        if not options:
            return so_far
        options.sort(key=lambda option: option[0])
        for value, _, way, rest in options:
            if best is not None and value >= best:
                break
            reached = self._least_history(rest.union(way.reads), value, depth - 1, best, floor)
            best = reached if best is None else min(best, reached)
            if best <= max(so_far, floor):
                break
        return best if best is not None else so_far


def _transposed(rows: Sequence[int]) -> list[int]:
    """Return a square of bits, row by row, with rows and columns exchanged."""
    width = -(-len(rows) // 8)
    if not width:
        return []
    packed = np.frombuffer(b"".join(row.to_bytes(width, "little") for row in rows), np.uint8)
    square = np.unpackbits(packed.reshape(-1, width), axis=1, count=len(rows), bitorder="little")
    columns = np.packbits(square.T, axis=1, bitorder="little")
    return [int.from_bytes(column.tobytes(), "little") for column in columns]


def _bits(number: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, ascending."""
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
