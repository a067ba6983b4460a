"""Which alternative each operation starts with, and which operations then run at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memplan.solver.schedule import Schedule, Table

__all__ = [
    "block_ways",
    "fastest_ways",
    "light_updates",
    "needed_schedule",
    "plain_ways",
    "saving_ways",
    "starting_ways",
    "without_unread",
]


def needed_schedule(table: Table, ways: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the operations that are needed if each runs by ``ways``, once, in traced order.

    What a needed operation covers does not run by itself.
    """
    chosen = _needed(table, ways, frozenset())
    covered = frozenset(v for work, way in chosen for v in table.covers[work][way])
    return _needed(table, ways, covered) if covered else chosen


def _needed(
    table: Table, ways: Mapping[int, int], covered: frozenset[int]
) -> list[tuple[int, int]]:
    wanted = set(table.kept)
    chosen = []
    for index in range(len(table.instance.works) - 1, -1, -1):
        demanded = table.instance.works[index].demanded[0] and index not in covered
        if demanded or not wanted.isdisjoint(table.writes[index]):
            way = ways[index]
            chosen.append((index, way))
            wanted.update(table.reads[index][way])
    chosen.reverse()
    return chosen


def without_unread(table: Table, schedule: Schedule) -> list[tuple[int, int]]:
    """Drop computations whose results nobody reads."""
    wanted = set(table.kept)
    kept = []
    for work, way in reversed(schedule):
        writes = table.writes[work]
        serves = table.instance.works[work].demanded[0] or table.covers[work][way]
        if serves or not wanted.isdisjoint(writes):
            kept.append((work, way))
            wanted.difference_update(writes)
            wanted.update(table.reads[work][way])
    kept.reverse()
    return kept


def fastest_ways(table: Table) -> dict[int, int]:
    """Return for each operation the allowed alternative of least time.

    Where an alternative spares another operation (a fused update its weight gradient), that
    operation's time counts too.
    """
    return table.once(_fastest_ways)


def _fastest_ways(table: Table) -> dict[int, int]:
    readers = _reader_counts(table)
    ways = {}
    for index, allowed in enumerate(_single(table)):
        if allowed:
            _, ways[index] = min(
                (_time_with_own_producers(table, readers, index, way), way) for way in allowed
            )
    return ways


def saving_ways(table: Table) -> dict[int, int]:
    """Return alternatives that keep few bytes from the forward to the backward pass.

    Starts with the fastest and flips one operation at a time while the bytes of forward tensors
    that backward operations read become fewer.
    """
    return table.once(_saving_ways)


def _saving_ways(table: Table) -> dict[int, int]:
    saved = _Saved(table, fastest_ways(table))
    single = _single(table)
    improved = True
    while improved:
        improved = False
        for index, allowed in enumerate(single):
            if len(allowed) < 2:
                continue
            current, best = saved.ways[index], saved.bytes
            for way in allowed:
                saved.switch(index, way)
                if saved.bytes < best:
                    best, current, improved = saved.bytes, way, True
            saved.switch(index, current)
    return saved.ways


class _Saved:
    """The bytes of forward tensors that backward operations read, while ways change one by one.

    Ways that cover others are none of these.
    """

    def __init__(self, table: Table, ways: Mapping[int, int]) -> None:
        self.table = table
        self.ways = dict(ways)
        self.bytes = 0
        works = table.instance.works
        self.is_backward = [work.phase != "forward" for work in works]
        #: Items of the forward pass, and what is given.
        self.counts = [False] * len(table.size)
        for item in table.given:
            self.counts[item] = True
        for item, work in table.producer.items():
            self.counts[item] = not self.is_backward[work]
        #: Operations that read an item, and backward ones of them; what is kept is read once more.
        self.readers = [int(item in table.kept) for item in range(len(table.size))]
        self.later = [0] * len(table.size)
        self.running = [False] * len(works)
        for work, _ in needed_schedule(table, ways):
            self._start(work)

    def switch(self, work: int, way: int) -> None:
        """Let an operation go another way; what is then needed, or not needed any more, follows."""
        old, self.ways[work] = self.ways[work], way
        if self.running[work] and old != way:
            self._count(work, way, 1)
            self._count(work, old, -1)

    def _start(self, work: int) -> None:
        if not self.running[work]:
            self.running[work] = True
            self._count(work, self.ways[work], 1)

    def _count(self, first: int, first_way: int, first_change: int) -> None:
        """Add a reader to what a way reads, or take one away; go on with those that read for it."""
        table = self.table
        waiting = [(first, first_way, first_change)]
        while waiting:
            work, way, change = waiting.pop()
            for item in table.reads[work][way]:
                self.readers[item] += change
                if self.is_backward[work] and self.counts[item]:
                    before = self.later[item]
                    self.later[item] += change
                    is_saved = int(before + change > 0) - int(before > 0)
                    self.bytes += is_saved * table.size[item]
                producer = table.producer.get(item)
                if producer is None or self.running[producer] == self._is_needed(producer):
                    continue
                self.running[producer] = not self.running[producer]
                change_there = 1 if self.running[producer] else -1
                waiting.append((producer, self.ways[producer], change_there))

    def _is_needed(self, work: int) -> bool:
        demanded = self.table.instance.works[work].demanded[0]
        return demanded or any(self.readers[item] for item in self.table.writes[work])


def _reader_counts(table: Table) -> dict[int, int]:
    readers: dict[int, set[int]] = {}
    for work, reads in enumerate(table.reads):
        for way in table.allowed[work]:
            for item in reads[way]:
                readers.setdefault(item, set()).add(work)
    return {item: len(who) for item, who in readers.items()}


def _time_with_own_producers(table: Table, readers: Mapping[int, int], work: int, way: int) -> int:
    time = table.time_ns[work][way]
    for item in table.reads[work][way]:
        producer = table.producer.get(item)
        if (
            producer is not None
            and readers[item] == 1
            and table.allowed[producer]
            and len(table.writes[producer]) == 1
        ):
            time += min(table.time_ns[producer][w] for w in table.allowed[producer])
    return time


def plain_ways(table: Table) -> dict[int, int]:
    """Return the first alternative that the mask allows: by them nothing is extra."""
    return {index: allowed[0] for index, allowed in enumerate(_single(table)) if allowed}


def _single(table: Table) -> list[tuple[int, ...]]:
    """Return for each operation the allowed alternatives that execute it alone, come what may.

    What uses an operand up is none of them: another operation may read that operand later.
    """
    return [
        tuple(
            way for way in allowed if not table.covers[index][way] and table.uses_up[index][way] < 0
        )
        for index, allowed in enumerate(table.allowed)
    ]


def block_ways(table: Table, ways: Mapping[int, int]) -> dict[int, int]:
    """Return ``ways`` with every block as one, where an alternative covers its updates."""
    blocks = dict(ways)
    for index, allowed in enumerate(table.allowed):
        covering = [way for way in allowed if table.covers[index][way]]
        if covering:
            blocks[index] = max(covering, key=lambda way: len(table.covers[index][way]))
    return blocks


def light_updates(table: Table, ways: Mapping[int, int]) -> dict[int, int]:
    """Return ``ways`` with each update by the alternative that needs the fewest bytes beside it.

    A fused update needs no gradient but both operands of it, after the input gradient is there;
    for a small weight on large activations the plain one is lighter.
    """
    light, single = dict(ways), _single(table)
    for index, work in enumerate(table.instance.works):
        if work.phase in ("update", "accumulate") and len(single[index]) > 1:
            light[index] = min(
                single[index],
                key=lambda way: (
                    sum(table.size[item] for item in table.reads[index][way])
                    + table.workspace[index][way]
                ),
            )
    return light


def starting_ways(table: Table) -> Sequence[tuple[str, dict[int, int]]]:
    """Return the sets of alternatives that the heuristics start from, by name."""
    fast, saving = fastest_ways(table), saving_ways(table)
    candidates = [
        ("fastest", fast),
        ("saving", saving),
        ("fastest, light updates", light_updates(table, fast)),
        ("saving, light updates", light_updates(table, saving)),
    ]
    if any(way for work in table.covers for way in work):
        candidates += [(f"{name}, blocks", block_ways(table, ways)) for name, ways in candidates]
    kept: list[tuple[str, dict[int, int]]] = []
    for name, ways in candidates:
        if all(ways != other for _, other in kept):
            kept.append((name, ways))
    return kept
