"""A schedule for one update mask or micro-batch, made of a schedule for another.

A mask that differs in a layer or two needs nearly the same operations.  What a search has found for
one, recomputation above all, is a better start for the next than the traced order is.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule, without_unread

__all__ = ["carried_over"]

Steps = tuple[tuple[int, int], ...]


def carried_over(known: Table, schedule: Schedule, table: Table) -> Steps | None:
    """Return a valid schedule of ``table`` that is as near to the known one as may be.

    Operations keep their places and ways; what the new mask needs beside them comes as soon as its
    operands are there, and what it does not need is left out.

    Args:
        known: the table of ``schedule``: the same graph, another mask or micro-batch.

    Returns:
        The schedule, or None where there is none of this kind.
    """
    ways = fastest_ways(table)
    place = _places(known, table)
    steps: list[tuple[int, int]] = []
    for work_there, way in schedule:
        work = place[work_there]
        if work not in ways:
            continue  # the new mask forbids it
        ways[work] = _nearest_way(known, table, work_there, work, way, ways[work])
        steps.append((work, ways[work]))
    needed = needed_schedule(table, ways)
    wanted = {work for work, _ in needed}
    steps = [(work, way) for work, way in steps if work in wanted]
    kept = tuple(without_unread(table, _merged(table, steps, needed)))
    return kept if live_peak(table, kept) is not None else None


def _nearest_way(
    known: Table, table: Table, work_there: int, work: int, way: int, fastest: int
) -> int:
    """Return the way by the same name, or else one of its target that does part of what it did.

    A way that does the updates of several layers as well is forbidden where one of them is not
    updated; the block that it spares is spared by the way that does the others.
    """
    one = known.instance.works[work_there].ways[way]
    ways = table.instance.works[work].ways
    for other in table.allowed[work]:
        if ways[other].name == one.name:
            return other
    if not one.covers:
        return fastest
    target = _target(known, work_there, way)
    covered = {_role(known, each) for each in one.covers}
    alike = [
        (len(ways[other].covers), -other)
        for other in table.allowed[work]
        if _target(table, work, other) == target
        and covered.issuperset(_role(table, each) for each in ways[other].covers)
    ]
    return -max(alike)[1] if alike else fastest


def _target(table: Table, work: int, way: int) -> str:
    one = table.instance.works[work]
    alternatives = table.instance.graph.operation[one.operation].alternatives
    return alternatives[one.ways[way].alternative].target


def _places(known: Table, table: Table) -> list[int]:
    """Return which work of ``table`` each work of ``known`` is; -1: none.

    With one trip a parameter is updated where with several its gradient is accumulated.
    """
    there = {_role(table, number): number for number in range(len(table.instance.works))}
    return [there.get(_role(known, number), -1) for number in range(len(known.instance.works))]


def _role(table: Table, number: int) -> tuple[str, str]:
    work = table.instance.works[number]
    if work.phase in ("update", "accumulate"):
        return "update", table.instance.graph.operation[work.operation].parameter or work.operation
    return "operation", work.operation


def _merged(
    table: Table, steps: Sequence[tuple[int, int]], needed: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return all steps, and what is needed and not among them, each behind what it needs.

    Of what is ready the earliest comes first: a step by its place, anything else by the last of its
    operands.
    """
    all_steps = list(steps)
    keys: list[tuple[int, int]] = [(place, -1) for place in range(len(steps))]
    first: dict[int, int] = {}
    for place, (work, _) in enumerate(steps):
        first.setdefault(work, place)
    for work, way in needed:
        if work not in first:
            operands = _producers(table, first, work, way)
            latest = max((keys[place] for place in operands), default=(-1, -1))
            first[work] = len(all_steps)
            all_steps.append((work, way))
            keys.append((latest[0], work))
    readers: dict[str, list[int]] = {}
    for place, (work, way) in enumerate(all_steps):
        for name in table.stores[work][way]:
            readers.setdefault(name, []).append(place)
    waits: list[int] = []
    followers: list[list[int]] = [[] for _ in all_steps]
    latest_of: dict[int, int] = {}
    for place, (work, way) in enumerate(all_steps):
        before = _producers(table, first, work, way)
        before |= {other for name in table.mutates[work][way] for other in readers.get(name, ())}
        if work in latest_of:
            before.add(latest_of[work])
        latest_of[work] = place
        before.discard(place)
        waits.append(len(before))
        for other in before:
            followers[other].append(place)
    ready = [(keys[place], place) for place, count in enumerate(waits) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        _, place = heapq.heappop(ready)
        order.append(all_steps[place])
        for other in followers[place]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (keys[other], other))
    return order


def _producers(table: Table, first: Mapping[int, int], work: int, way: int) -> set[int]:
    """Return the first computation of each operand."""
    producers = (table.producer.get(item) for item in table.reads[work][way])
    return {first[other] for other in producers if other is not None and other in first}
