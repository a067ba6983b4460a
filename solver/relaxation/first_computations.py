"""By which ways operations first run: the part of a linear program that knows no memory.

For the first computation of every operation v, ``x[v, w]`` says that it goes way w; what it reads
has been computed, what is demanded runs or is covered::

    min  sum time[v, w] x[v, w]                                    over 0 <= x <= 1
    sum over w' of x[p(t), w'] >= sum over w that read t of x[v, w]    each item t, reader v
    sum over w of x[v, w] + sum over ways that cover v of x >= 1       v demanded
    sum over w of x[v, w] >= 1                                         v writes an output
    sum over w of x[v, w] <= 1
    sum over w' of x[a, w'] >= sum over w of x[v, w], w after a           each a, v
    sum over w of x[a, w] >= 1                     all ways to do what is demanded come after a

The last two follow for whole x; without them halves of two ways would share what both need.  What
must run and has one way is *certain*: its time is a constant, and it has no variable.
"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.solver.relaxation.linear import LinearProgram
from memplan.solver.relaxation.precedence import Precedence, common_reads, works_that_must_run
from memplan.solver.schedule import Table

__all__ = ["FirstComputations"]

Terms = list[tuple[int, int]]


class FirstComputations:
    """What is known of the first computations of every plan of a table.

    Attributes:
        before: what runs before what.
        must: works that run in every plan.
        certain: those of them that have one way.
        certain_ns: what these take.
        common_reads: per work, what it reads by all of its ways, in order.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.before = Precedence(table)
        self.must = works_that_must_run(table)
        self.certain = {work for work in self.must if len(table.allowed[work]) == 1}
        self.certain_ns = sum(table.time_ns[work][table.allowed[work][0]] for work in self.certain)
        self.common_reads = [
            tuple(sorted(common_reads(table, work))) for work in range(len(table.reads))
        ]

    def program(self) -> tuple[LinearProgram, dict[tuple[int, int], int]]:
        """Return a new program, whose costs are beside ``certain_ns``, and x by (work, way)."""
        table, program = self.table, LinearProgram()
        variable = {
            (work, way): program.variable(table.time_ns[work][way])
            for work, allowed in enumerate(table.allowed)
            if work not in self.certain
            for way in allowed
        }
        covering: dict[int, Terms] = {}
        for (work, way), number in variable.items():
            for covered in table.covers[work][way]:
                covering.setdefault(covered, []).append((number, 1))

        def must_run(work: int, besides: Sequence[tuple[int, int]] = ()) -> None:
            if work not in self.certain:
                program.at_least([*self._runs(variable, work), *besides], 1)

        for work, allowed in enumerate(table.allowed):
            if work in self.certain:
                for item in table.reads[work][allowed[0]]:
                    if item in table.producer:
                        must_run(table.producer[item])
                continue
            own = self._runs(variable, work)
            if len(allowed) > 1:
                program.at_least([(number, -1) for number, _ in own], -1)
            reading: dict[int, Terms] = {}
            for way in allowed:
                for item in table.reads[work][way]:
                    reading.setdefault(item, []).append((variable[work, way], -1))
            # Items of one producer that the same ways read need one row.
            rows = {
                (table.producer[item], tuple(readers))
                for item, readers in reading.items()
                if item in table.producer and table.producer[item] not in self.certain
            }
            for producer, readers in sorted(rows):
                program.at_least([*self._runs(variable, producer), *readers], 0)
            if len(allowed) > 1:
                for ancestor, after in self._nearest(variable, work):
                    program.at_least([*self._runs(variable, ancestor), *after], 0)
        for work in table.demanded:
            must_run(work, covering.get(work, []))
            for ancestor in self.before.nearest(self.before.of_demand(work)):
                must_run(ancestor)
        for item in sorted(table.kept):
            must_run(table.producer[item])
        return program, variable

    def _runs(self, variable: dict[tuple[int, int], int], work: int) -> Terms:
        return [(variable[work, way], 1) for way in self.table.allowed[work]]

    def _nearest(self, variable: dict[tuple[int, int], int], work: int) -> list[tuple[int, Terms]]:
        """Return the nearest works before some way of a work, and the terms of the ways behind."""
        behind = {way: self.before.of_way(work, way) for way in self.table.allowed[work]}
        nearest = {
            ancestor
            for ancestors in (*behind.values(), self.before.of_work[work])
            for ancestor in self.before.nearest(ancestors)
        }
        return [
            (
                ancestor,
                [
                    (variable[work, way], -1)
                    for way, ancestors in behind.items()
                    if ancestors >> ancestor & 1
                ],
            )
            for ancestor in sorted(nearest - self.certain)
        ]
