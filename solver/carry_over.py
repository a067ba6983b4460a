"""A schedule for one update mask, made of a schedule for another.

A mask that differs in a layer or two needs nearly the same operations.  What a search has found for
one, recomputation above all, is a better start for the next than the traced order is.
"""

from __future__ import annotations

from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.ways import fastest_ways, needed_schedule, without_unread

__all__ = ["carried_over"]

Steps = tuple[tuple[int, int], ...]


def carried_over(known: Table, schedule: Schedule, table: Table) -> Steps | None:
    """Return a valid schedule of ``table`` that is as near to the known one as may be.

    Operations keep their places and ways; what the new mask needs beside them comes as soon as its
    operands are there, and what it does not need is left out.

    Args:
        known: the table of ``schedule``: the same graph and micro-batch, another mask.

    Returns:
        The schedule, or None where there is none of this kind.
    """
    ways = fastest_ways(table)
    steps: list[tuple[int, int]] = []
    for work, way in schedule:
        name = known.instance.works[work].ways[way].name
        names = [each.name for each in table.instance.works[work].ways]
        if name in names and names.index(name) in table.allowed[work]:
            ways[work] = names.index(name)
        if work in ways:
            steps.append((work, ways[work]))
    needed = needed_schedule(table, ways)
    wanted = {work for work, _ in needed}
    steps = [(work, way) for work, way in steps if work in wanted]
    present = {work for work, _ in steps}
    for work, way in needed:
        if work not in present:
            _insert(table, steps, work, way)
    kept = tuple(without_unread(table, steps))
    return kept if live_peak(table, kept) is not None else None


def _insert(table: Table, steps: list[tuple[int, int]], work: int, way: int) -> None:
    """Put an operation behind what it reads, and updates of what it reads behind it."""
    operands = {table.producer.get(item, -1) for item in table.reads[work][way]}
    place = 0
    for index, (other, _) in enumerate(steps):
        if other in operands:
            place = index + 1
            operands.discard(other)  # the first computation is enough
    for index, (other, other_way) in enumerate(steps):
        if not table.mutates[work][way].isdisjoint(table.stores[other][other_way]):
            place = max(place, index + 1)
    early = [
        step
        for step in steps[:place]
        if not table.stores[work][way].isdisjoint(table.mutates[step[0]][step[1]])
    ]
    if early:
        steps[:place] = [step for step in steps[:place] if step not in early]
        place -= len(early)
    steps[place:place] = [(work, way), *early]
