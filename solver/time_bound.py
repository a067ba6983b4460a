"""Lower bounds on the time of every plan for one mask and one micro-batch.

The quick one: every operation that must run takes the least time of its ways.  Where all ways but
some would need an operation that nobody else reads (a plain update its weight gradient), that
operation's least time is part of the way's price.

The linear one (``FirstComputations``) sees chains and blocks that run as one: which operations run
then depends on the ways that are chosen.

Neither knows memory, so both hold for every budget.
"""

from __future__ import annotations

from memplan.solver.clock import WALL, Clock
from memplan.solver.relaxation.first_computations import FirstComputations
from memplan.solver.relaxation.precedence import works_that_must_run
from memplan.solver.schedule import Table
from memplan.solver.solution import plain_costs

__all__ = ["linear_time_lower_bound", "time_lower_bound", "trip_time_lower_bound", "with_outside"]


def time_lower_bound(table: Table) -> int:
    """Return nanoseconds that no plan of this fixed instance goes below; quickly."""
    return with_outside(table, trip_time_lower_bound(table))


def linear_time_lower_bound(table: Table, seconds: float = 2.0, clock: Clock = WALL) -> int:
    """Return nanoseconds that no plan of this fixed instance goes below, by both bounds.

    By the quick one alone, once the clock says to stop.
    """
    trip = trip_time_lower_bound(table)
    if not clock.stop():
        first = FirstComputations(table)
        program, _ = first.program()
        trip = max(trip, first.certain_ns + program.lower_bound(seconds, clock))
    return with_outside(table, trip)


def with_outside(table: Table, trip_ns: int) -> int:
    """Return what a plan takes whose trips take so long: prologue and epilogue come to it."""
    outside, _ = plain_costs(table.instance)
    return outside + table.instance.trips * trip_ns


def trip_time_lower_bound(table: Table) -> int:
    """Return nanoseconds that no trip of the body goes below."""
    must = works_that_must_run(table)
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
