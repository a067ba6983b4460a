"""Lower bounds on the time of every plan for one mask and one micro-batch.

The quick one: every operation that must run takes the least time of its ways.  Where all ways but
some would need an operation that nobody else reads (a plain update its weight gradient), that
operation's least time is part of the way's price.

The linear one sees chains and blocks that run as one: which operations run then depends on the ways
that are chosen.  For the first computation of every operation v, ``x[v, w]`` says that it goes way
w; what it reads has been computed, what is demanded runs or is covered::

    min  sum time[v, w] x[v, w]                                    over 0 <= x <= 1
    sum over w' of x[p(t), w'] >= sum over w that read t of x[v, w]    each item t, reader v
    sum over w of x[v, w] + sum over ways that cover v of x >= 1       v demanded
    sum over w of x[v, w] >= 1                                         v writes an output
    sum over w of x[v, w] <= 1
    sum over w' of x[a, w'] >= sum over w of x[v, w], w after a           each a, v
    sum over w of x[a, w] >= 1                     all ways to do what is demanded come after a

The last two follow for whole x; without them halves of two ways would share what both need.
Neither knows memory, so both hold for every budget.
"""

from __future__ import annotations

from memplan.solver.clock import WALL, Clock
from memplan.solver.relaxation.linear import LinearProgram
from memplan.solver.schedule import Table
from memplan.solver.solution import plain_costs

__all__ = ["linear_time_lower_bound", "time_lower_bound", "trip_time_lower_bound"]


def time_lower_bound(table: Table) -> int:
    """Return nanoseconds that no plan of this fixed instance goes below; quickly."""
    return _with_outside(table, trip_time_lower_bound(table))


def linear_time_lower_bound(table: Table, seconds: float = 2.0, clock: Clock = WALL) -> int:
    """Return nanoseconds that no plan of this fixed instance goes below, by both bounds.

    By the quick one alone, once the clock says to stop.
    """
    trip = trip_time_lower_bound(table)
    if not clock.stop():
        trip = max(trip, _linear_program(table).lower_bound(seconds, clock))
    return _with_outside(table, trip)


def _with_outside(table: Table, trip_ns: int) -> int:
    outside, _ = plain_costs(table.instance)
    return outside + table.instance.trips * trip_ns


def _linear_program(table: Table) -> LinearProgram:
    program = LinearProgram()
    variable = {
        (work, way): program.variable(table.time_ns[work][way])
        for work, allowed in enumerate(table.allowed)
        for way in allowed
    }
    runs = [[(variable[work, way], 1) for way in ways] for work, ways in enumerate(table.allowed)]
    covering: dict[int, list[tuple[int, int]]] = {}
    for (work, way), number in variable.items():
        for covered in table.covers[work][way]:
            covering.setdefault(covered, []).append((number, 1))
    for work, allowed in enumerate(table.allowed):
        if len(allowed) > 1:
            program.at_least([(number, -1) for number, _ in runs[work]], -1)
        reading: dict[int, list[tuple[int, int]]] = {}
        for way in allowed:
            for item in table.reads[work][way]:
                reading.setdefault(item, []).append((variable[work, way], -1))
        # Items of one producer that the same ways read need one row.
        rows = {
            (table.producer[item], tuple(readers))
            for item, readers in reading.items()
            if item in table.producer
        }
        for producer, readers in sorted(rows):
            program.at_least([*runs[producer], *readers], 0)
    before = _Ancestors(table)
    for work, allowed in enumerate(table.allowed):
        behind = {way: before.of_way(work, way) for way in allowed}
        nearest = {
            ancestor
            for ancestors in (*behind.values(), before.of_work[work])
            for ancestor in before.nearest(ancestors)
        }
        for ancestor in sorted(nearest) if len(allowed) > 1 else ():
            after = [way for way in allowed if behind[way] >> ancestor & 1]
            program.at_least([*runs[ancestor], *((variable[work, w], -1) for w in after)], 0)
    for work in table.demanded:
        program.at_least([*runs[work], *covering.get(work, [])], 1)
        for ancestor in before.nearest(before.of_demand(work)):
            program.at_least(runs[ancestor], 1)
    for item in sorted(table.kept):
        program.at_least(runs[table.producer[item]], 1)
    return program


class _Ancestors:
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


def trip_time_lower_bound(table: Table) -> int:
    """Return nanoseconds that no trip of the body goes below."""
    must = _must_run(table)
    readers: dict[int, set[int]] = {}
    for work, reads in enumerate(table.reads):
        for way in table.allowed[work]:
            for item in reads[way]:
                readers.setdefault(item, set()).add(work)
    total = 0
    for work in must:
        prices = []
        for way in table.allowed[work]:
            price = table.time_ns[work][way]
            own = {
                table.producer[item]
                for item in table.reads[work][way]
                if item in table.producer and readers[item] == {work}
            }
            for producer in own - must:
                if all(readers.get(item, set()) <= {work} for item in table.writes[producer]):
                    price += min(
                        (table.time_ns[producer][w] for w in table.allowed[producer]), default=0
                    )
            prices.append(price)
        total += min(prices, default=0)
    return total


def _must_run(table: Table) -> set[int]:
    """Return the works that run in every plan: demanded, or read by every way of one that is."""
    wanted = set(table.kept)
    must = set()
    for work in range(len(table.writes) - 1, -1, -1):
        demanded = table.instance.works[work].demanded[0]
        if (demanded and work not in table.instance.coverable) or not wanted.isdisjoint(
            table.writes[work]
        ):
            must.add(work)
            if table.allowed[work]:
                wanted |= set.intersection(
                    *(set(table.reads[work][way]) for way in table.allowed[work])
                )
    return must
