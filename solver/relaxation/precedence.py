"""What runs before what in every plan of a fixed instance, whatever ways are chosen."""

from __future__ import annotations

from memplan.solver.schedule import Table

__all__ = ["Precedence", "common_reads", "works_that_must_run"]


def common_reads(table: Table, work: int) -> set[int]:
    """Return the items that a work reads by whatever way it goes."""
    reads = [set(table.reads[work][way]) for way in table.allowed[work]]
    return set.intersection(*reads) if reads else set()


def works_that_must_run(table: Table) -> set[int]:
    """Return the works that run in every plan: demanded, or read by every way of one that is."""
    wanted = set(table.kept)
    must = set()
    for work in range(len(table.writes) - 1, -1, -1):
        demanded = table.instance.works[work].demanded[0]
        if (demanded and work not in table.instance.coverable) or not wanted.isdisjoint(
            table.writes[work]
        ):
            must.add(work)
            wanted |= common_reads(table, work)
    return must


class Precedence:
    """Works, as bits, that run before a work whatever ways are chosen."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.of_work = [0] * len(table.allowed)
        self.covering: dict[int, list[tuple[int, int]]] = {}
        for work, allowed in enumerate(table.allowed):
            common = -1
            for way in allowed:
                common &= self.of_way(work, way)
                for covered in table.covers[work][way]:
                    self.covering.setdefault(covered, []).append((work, way))
            self.of_work[work] = max(0, common)

    def of_way(self, work: int, way: int) -> int:
        """Return what runs before a work that goes this way."""
        before = 0
        for item in self.table.reads[work][way]:
            producer = self.table.producer.get(item)
            if producer is not None:
                before |= self.of_work[producer] | 1 << producer
        return before

    def of_demand(self, work: int) -> int:
        """Return what runs before a demanded work is done, by itself or by what covers it."""
        common = -1
        for way in self.table.allowed[work]:
            common &= self.of_way(work, way)
        for other, way in self.covering.get(work, ()):
            common &= self.of_way(other, way)
        return max(0, common)

    def nearest(self, ancestors: int) -> list[int]:
        """Return those of a set that are before no other of the set."""
        nearest = []
        left = ancestors
        while left:
            work = left.bit_length() - 1  # the last in traced order is before none of the others
            nearest.append(work)
            left &= ~(self.of_work[work] | 1 << work)
        return nearest
