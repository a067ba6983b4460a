"""A schedule to start from that leaves out what whole blocks spare.

A chain in row strips, or a block's backward in channel strips, reads past the tensors inside, which
then need not exist, unless something else reads them.  What a chain uses up gives its bytes to the
result, if nothing else reads it.  Which of these ways spare bytes follows from who runs, so they
are chosen one after the other, from the end of the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from memplan.solver.schedule import Table
from memplan.solver.scheduling.ways import needed_schedule

__all__ = ["lean_schedule"]


def lean_schedule(table: Table, ways: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return what runs, in traced order, when each operation goes the way that spares most bytes.

    Bytes are those of all tensors that come into being at places of their own, and of all
    workspaces; of what the forward saves for later twice as many, since they are there for long.
    Where it spares
    bytes, an operation runs for the updates that it covers although no one reads its result.
    """
    needs = _Needs(table, ways)
    for work in range(len(table.writes) - 1, -1, -1):
        if work not in ways:
            continue
        running = work in needs.running
        least, best = 0.0, None
        may_take = needs.may_take
        if running and not needs.is_spent_by(work, needs.ways[work]):
            # One that runs later reads what this one would use up.
            least, may_take = inf, needs.is_spent_by
        for way in table.allowed[work]:
            if not may_take(work, way):
                continue
            if running and way != needs.ways[work]:
                before = needs.ways[work]
                change = needs.switch(work, way)
                needs.switch(work, before)
            elif not running and table.covers[work][way] and needs.runs_alone(work, way):
                change = needs.begin(work, way)
                needs.end(work)
            else:
                continue
            if change < least:
                least, best = change, way
        if best is not None and running:
            needs.switch(work, best)
        elif best is not None:
            needs.begin(work, best)
    return [(work, needs.ways[work]) for work in sorted(needs.running)]


class _Needs:
    """Who runs, and how many read each tensor."""

    def __init__(self, table: Table, ways: Mapping[int, int]) -> None:
        self.table = table
        self.ways = dict(ways)
        self.running: set[int] = set()
        self.readers = [0] * len(table.size)
        works = table.instance.works
        self.is_forward = [work.phase == "forward" for work in works]
        #: Of the readers of what the forward computes, those that are not forward.
        self.later = [0] * len(table.size)
        self.demanded = [work.demanded[0] for work in works]
        self.bytes = 0
        for work, _ in needed_schedule(table, ways):
            self._start(work)
        for item in table.kept:
            self.readers[item] += 1
            if item in table.producer:
                self._start(table.producer[item])

    def runs_alone(self, work: int, way: int) -> bool:
        """Tell whether all that a way covers runs by itself, so that it may be covered."""
        return self.running.issuperset(self.table.covers[work][way])

    def switch(self, work: int, way: int) -> int:
        """Let a running operation go another way; return by how much the bytes grow."""
        table, old, before = self.table, self.ways[work], self.bytes
        for item in table.reads[work][way]:
            self._acquire(item, work)
        self.bytes += self._bytes_of(work, way) - self._bytes_of(work, old)
        self.ways[work] = way
        for covered in table.covers[work][old]:
            self._start(covered)
        for covered in table.covers[work][way]:
            self._stop(covered)
        for item in table.reads[work][old]:
            self._release(item, work)
        return self.bytes - before

    def begin(self, work: int, way: int) -> int:
        """Let an operation run for what it covers; return by how much the bytes grow."""
        before = self.bytes
        self.ways[work] = way
        self._start(work)
        for covered in self.table.covers[work][way]:
            self._stop(covered)
        return self.bytes - before

    def end(self, work: int) -> None:
        """Undo ``begin``."""
        self._stop(work)

    def _count(self, item: int, reader: int, change: int) -> None:
        self.readers[item] += change
        producer = self.table.producer.get(item)
        if producer is not None and self.is_forward[producer] and not self.is_forward[reader]:
            before = self.later[item]
            self.later[item] += change
            self.bytes += self.table.size[item] * ((before + change > 0) - (before > 0))

    def _acquire(self, item: int, reader: int) -> None:
        self._count(item, reader, 1)
        if item in self.table.producer:
            self._start(self.table.producer[item])

    def _release(self, item: int, reader: int) -> None:
        self._count(item, reader, -1)
        producer = self.table.producer.get(item)
        if producer is not None and not self._is_wanted(producer):
            self._stop(producer)

    def _is_wanted(self, work: int) -> bool:
        return self.demanded[work] or any(self.readers[item] for item in self.table.writes[work])

    def _start(self, first: int) -> None:
        """Let an operation run, and whatever it needs."""
        waiting = [first]
        while waiting:
            work = waiting.pop()
            if work in self.running:
                continue
            self.running.add(work)
            self.bytes += self._bytes_of(work, self.ways[work])
            for item in self.table.reads[work][self.ways[work]]:
                self._count(item, work, 1)
                if item in self.table.producer:
                    waiting.append(self.table.producer[item])

    def _stop(self, first: int) -> None:
        """Let an operation not run, nor whatever is needed for it alone."""
        waiting = [first]
        while waiting:
            work = waiting.pop()
            if work not in self.running or (work != first and self._is_wanted(work)):
                continue
            self.running.remove(work)
            self.bytes -= self._bytes_of(work, self.ways[work])
            for covered in self.table.covers[work][self.ways[work]]:
                self._start(covered)
            for item in self.table.reads[work][self.ways[work]]:
                self._count(item, work, -1)
                if item in self.table.producer:
                    waiting.append(self.table.producer[item])

    def may_take(self, work: int, way: int) -> bool:
        """Tell whether what a way uses up, or writes over, is free for that."""
        if any(self.later[read] for read, _ in self.table.pairs[work][way]):
            return False
        return self.is_spent_by(work, way)

    def is_spent_by(self, work: int, way: int) -> bool:
        """Tell whether no one else needs what a way uses up, if it does."""
        item = self.table.uses_up[work][way]
        if item < 0:
            return True
        others = self.readers[item]
        if work in self.running:
            others -= item in self.table.reads[work][self.ways[work]]
        return not others and item not in self.table.kept

    def _bytes_of(self, work: int, way: int) -> int:
        """Return the bytes that come into being, but for those that take the place of others."""
        table = self.table
        written = sum(table.size[item] for item in table.writes[work])
        workspace, spent = table.workspace[work][way], table.uses_up[work][way]
        if spent >= 0:
            written -= min(written, table.size[spent] + workspace)
        shared = {taken: table.size[read] for read, taken in table.pairs[work][way]}
        return written + workspace - sum(shared.values())
