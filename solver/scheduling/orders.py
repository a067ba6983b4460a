"""Orders to start from: the traced one, and list schedules that keep few bytes alive."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from memplan.solver.schedule import Schedule, Table
from memplan.solver.scheduling.lean import lean_schedule
from memplan.solver.scheduling.narrow import narrow_ways
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule, saving_ways, starting_ways

__all__ = ["list_schedule", "sink_growing", "starting_orders", "starting_schedules"]

Steps = tuple[tuple[int, int], ...]

#: How far beyond the first operation that is ready the list schedule looks.
_WINDOW = 40


def starting_schedules(table: Table, *, lean: bool = True) -> list[Schedule]:
    """Return the schedules in traced order that the heuristics start from.

    Args:
        lean: with those that go by strips.
    """
    starts: list[Schedule] = [needed_schedule(table, ways) for _, ways in starting_ways(table)]
    if lean:
        leanest = (fastest_ways(table), saving_ways(table), narrow_ways(table))
        starts += [lean_schedule(table, ways) for ways in leanest]
    return [steps for index, steps in enumerate(starts) if steps not in starts[:index]]


def starting_orders(table: Table, *, lean: bool = True, traced_only: bool = False) -> list[Steps]:
    """Return the orders that the heuristics start from, no two equal.

    Args:
        lean: with those that go by strips.
        traced_only: without list schedules, and without sinking.
    """
    orders: list[Steps] = []
    for steps in starting_schedules(table, lean=lean):
        traced = tuple(steps)
        if traced_only:
            orders += [traced] if traced not in orders else []
            continue
        listed = list_schedule(table, steps)
        for order in (traced, listed, sink_growing(table, traced), sink_growing(table, listed)):
            if order not in orders:
                orders.append(order)
    return orders


def sink_growing(table: Table, order: Steps) -> Steps:
    """Return ``order`` with every step that adds bytes moved to just before its first reader.

    Of two branches that join, the one whose operands are small so waits until the other one is
    done.
    """
    steps = list(order)
    last_reader: dict[int, int] = {}
    for work, way in order:
        for item in table.reads[work][way]:
            last_reader[item] = work
    for index in range(len(steps) - 2, -1, -1):
        work, way = steps[index]
        freed = sum(
            table.size[item] for item in table.reads[work][way] if last_reader[item] == work
        )
        if sum(table.size[item] for item in table.writes[work]) <= freed:
            continue
        written, stores = set(table.writes[work]), table.stores[work][way]
        target = index
        while target + 1 < len(steps):
            other, other_way = steps[target + 1]
            if not written.isdisjoint(table.reads[other][other_way]) or not stores.isdisjoint(
                table.mutates[other][other_way]
            ):
                break
            target += 1
        if target > index and not written.isdisjoint(table.kept) and target + 1 == len(steps):
            continue
        steps.insert(target, steps.pop(index))
    return tuple(steps)


def list_schedule(table: Table, steps: Schedule) -> Steps:
    """Return an order of operations that frees bytes as early as it can.

    Of the operations that are ready, near the first one in traced order, the one goes next that
    adds the fewest live bytes.  A weight gradient so goes before the input gradient, whose
    result is large, and an update after the last reader of its weight.
    """
    position = {work: index for index, (work, _) in enumerate(steps)}
    waiting = [0] * len(steps)
    followers: list[list[int]] = [[] for _ in steps]
    readers_left: dict[int, int] = {}
    readers_of_store: dict[str, list[int]] = {}
    for index, (work, way) in enumerate(steps):
        for item in table.reads[work][way]:
            readers_left[item] = readers_left.get(item, 0) + 1
            producer = table.producer.get(item)
            if producer is not None:
                followers[position[producer]].append(index)
                waiting[index] += 1
        for name in table.stores[work][way]:
            readers_of_store.setdefault(name, []).append(index)
    for index, (work, way) in enumerate(steps):
        for name in table.mutates[work][way]:
            for reader in readers_of_store.get(name, ()):
                if reader != index:
                    followers[reader].append(index)
                    waiting[index] += 1
    ready = [index for index, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        best = min(
            (index for index in ready if index <= ready[0] + _WINDOW),
            key=lambda index: (_added_bytes(table, steps[index], readers_left), index),
        )
        ready.remove(best)
        heapq.heapify(ready)
        order.append(steps[best])
        work, way = steps[best]
        for item in table.reads[work][way]:
            readers_left[item] -= 1
        for follower in followers[best]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    return tuple(order)


def _added_bytes(table: Table, step: tuple[int, int], readers_left: Mapping[int, int]) -> int:
    """Return how many more bytes are live after a step than before it."""
    work, way = step
    added = sum(
        table.size[item]
        for item in table.writes[work]
        if readers_left.get(item, 0) or item in table.kept
    )
    return added - sum(
        table.size[item]
        for item in table.reads[work][way]
        if readers_left[item] == 1 and item not in table.kept
    )
