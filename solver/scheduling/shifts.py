"""Schedules of equal time: what runs again runs a little earlier or later.

Addresses may be found for one of them where they are not for another.
"""

from __future__ import annotations

import random

from memplan.solver.schedule import Schedule, Table

__all__ = ["shifted"]

Steps = tuple[tuple[int, int], ...]

_MOST_MOVES = 8


def shifted(table: Table, schedule: Schedule, chance: random.Random) -> Steps:
    """Return a schedule with some computations beyond the first moved, as far as data allow.

    Weights may be read behind their update then, and bytes exceed: that is for the caller to see.
    """
    steps = list(schedule)
    for _ in range(chance.randint(1, _MOST_MOVES)):
        seen: set[int] = set()
        again = []
        for step, (work, _) in enumerate(steps):
            if work in seen:
                again.append(step)
            seen.add(work)
        if not again:
            break
        step = chance.choice(again)
        target = chance.randint(_earliest(table, steps, step), _latest(table, steps, step))
        steps.insert(target, steps.pop(step))
    return tuple(steps)


def _earliest(table: Table, steps: Schedule, step: int) -> int:
    work, way = steps[step]
    reads, writes = set(table.reads[work][way]), set(table.writes[work])
    while step > 0:
        other, other_way = steps[step - 1]
        makes = not reads.isdisjoint(table.writes[other])
        # Behind the last reader of what it computed before.
        if makes or other == work or not writes.isdisjoint(table.reads[other][other_way]):
            break
        step -= 1
    return step


def _latest(table: Table, steps: Schedule, step: int) -> int:
    work, way = steps[step]
    reads, writes = set(table.reads[work][way]), set(table.writes[work])
    while step + 1 < len(steps):
        other, other_way = steps[step + 1]
        renews = not reads.isdisjoint(table.writes[other])
        if renews or other == work or not writes.isdisjoint(table.reads[other][other_way]):
            break
        step += 1
    return step
