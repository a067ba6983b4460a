"""A lower bound on the time of every plan for one mask and one micro-batch.

Every operation that must run takes the least time of its ways.  Where all ways but some would
need an operation that nobody else reads (a plain update its weight gradient), that operation's
least time is part of the way's price.
"""

from __future__ import annotations

from memplan.solver.schedule import Table
from memplan.solver.solution import plain_costs

__all__ = ["time_lower_bound", "trip_time_lower_bound"]


def time_lower_bound(table: Table) -> int:
    """Return nanoseconds that no plan of this fixed instance goes below."""
    outside, _ = plain_costs(table.instance)
    return outside + table.instance.trips * trip_time_lower_bound(table)


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
