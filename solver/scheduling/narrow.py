"""Alternatives by which every tensor is reached past as little as possible.

``lean_schedule`` adds bytes up; where a chain of strips ends matters for the peak, though: two
short chains, of which each uses up what it begins with, need less at once than a long one.  Here
each operation goes the way that keeps the largest working set on its path small.
"""

from __future__ import annotations

from memplan.solver.schedule import Table
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule

__all__ = ["narrow_ways"]


def narrow_ways(table: Table) -> dict[int, int]:
    """Return for each operation the way of least largest working set, back to the inputs.

    Of several the one of the smallest working set, then the fastest.  Nothing is used up that is
    read later by what then runs.
    """
    return table.once(_narrow_ways)


def _narrow_ways(table: Table) -> dict[int, int]:
    forbidden: set[tuple[int, int]] = set()
    while True:
        ways = _ways(table, forbidden)
        wrong = _used_up_too_early(table, ways)
        if not wrong:
            return ways
        forbidden |= wrong


def _ways(table: Table, forbidden: set[tuple[int, int]]) -> dict[int, int]:
    highest = [0] * len(table.size)
    chosen = fastest_ways(table)
    for work in range(len(table.writes)):
        options = [
            (
                max(own, *(highest[item] for item in table.reads[work][way]), 0),
                own,
                table.time_ns[work][way],
                way,
            )
            for way in table.allowed[work]
            if not table.covers[work][way] and (work, way) not in forbidden
            for own in (_working_set(table, work, way),)
        ]
        if not options:
            continue
        most, _, _, chosen[work] = min(options)
        for item in table.writes[work]:
            highest[item] = most
    return chosen


def _working_set(table: Table, work: int, way: int) -> int:
    reads = sum(table.size[item] for item in table.reads[work][way])
    writes = sum(table.size[item] for item in table.writes[work])
    workspace = table.workspace[work][way]
    if table.uses_up[work][way] >= 0:
        return max(reads + workspace, writes)
    shared = {written: table.size[read] for read, written in table.pairs[work][way]}
    return reads + writes + workspace - sum(shared.values())


def _used_up_too_early(table: Table, ways: dict[int, int]) -> set[tuple[int, int]]:
    schedule = needed_schedule(table, ways)
    last = {item: work for work, way in schedule for item in table.reads[work][way]}
    return {
        (work, way)
        for work, way in schedule
        if (item := table.uses_up[work][way]) >= 0 and (last[item] != work or item in table.kept)
    }
