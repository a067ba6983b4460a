"""Recomputation along a line by a search over what is held, in machine code.

A *label* is (place p, set S of items held, cost so far): the operations before place p of the line
ran first, and S is what is kept of the forward pass.  From it either the operation at p runs, or
one of the forward pass runs again.  What does not fit beside it is given up then, and no earlier:
one label for each set that is minimal.  Labels of one place are taken by cost + potential, where
the potential (``StageProgram.potentials``) is a bound on what is still to come; above ``most`` they
are dropped.  At most ``width`` are taken at a place: if that was never too few, then no schedule
costs ``most`` or less but those found.  Nothing is supposed about how often or in which order
operations run again; what the potential supposes remains.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Integers

__all__ = ["Effort", "Labels", "find_schedule", "prepare_labels"]

Masks = NDArray[np.uint64]
Shorts = NDArray[np.int32]

_ONE = np.uint64(1)


class Labels(NamedTuple):
    """A line in bits: item k is bit k."""

    forward: int
    #: Place from which on operations may run again.
    again_from: int
    reads: Masks  # per operation
    writes: Masks  # per operation
    useful: Masks  # per place, and behind the last: items that may be needed from there on
    during: Integers  # bytes of all else while an operation first runs
    resting: Integers  # bytes of all else between places
    beside: Integers  # bytes of an operation beside its items
    size: Integers  # per item
    cost: Integers  # per operation of the forward pass, times ``fraction``
    constant: Integers  # per place: potential of the empty set
    value: Integers  # per place and item: what holding it takes off
    start: int
    kept: int


class Effort(NamedTuple):
    """How far the search goes."""

    #: Labels that are taken at a place.
    width: int
    #: Sets to give up that are tried for one operation.
    sets: int
    #: Labels in all.
    labels: int
    #: Ties between labels are broken by it.
    seed: int


def find_schedule(
    labels: Labels, limit_bytes: int, most: int, effort: Effort
) -> tuple[list[int] | None, int, bool]:
    """Return (operations in order, cost, whether the search was complete).

    Args:
        most: cost up to which schedules are looked for.

    Returns:
        None for the operations where nothing was found; the cost is that of recomputation.
    """
    slots = 1
    while slots < 2 * effort.labels:
        slots *= 2
    parent = np.empty(effort.labels, np.int32)
    action = np.empty(effort.labels, np.int32)
    table = np.zeros(slots, np.int32)
    goal, cost, complete = _search(labels, limit_bytes, most, effort, table, parent, action)
    if goal < 0:
        return None, 0, complete
    order: list[int] = []
    while parent[goal] >= 0:
        order.append(int(action[goal]))
        goal = int(parent[goal])
    return order[::-1], int(cost), complete


@functools.cache
def prepare_labels() -> None:
    """Compile the search, or load what an earlier process compiled: some seconds, once."""
    bits, numbers = np.ones(1, np.uint64), np.ones(1, np.int64)
    labels = Labels(
        forward=1,
        again_from=0,
        reads=np.array([0, 1], np.uint64),
        writes=np.array([1, 0], np.uint64),
        useful=np.repeat(bits, 3),
        during=np.repeat(numbers, 2),
        resting=np.repeat(numbers, 3),
        beside=numbers,
        size=numbers,
        cost=numbers,
        constant=np.zeros(3, np.int64),
        value=np.zeros((3, 1), np.int64),
        start=0,
        kept=0,
    )
    found, _, _ = find_schedule(labels, 2, 1, Effort(1, 1, 8, 0))
    assert found == [0, 1]


@compiled
def _scrambled(bits: np.uint64, other: int) -> np.uint64:
    key = (bits + np.uint64(other)) * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(29)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    return key ^ (key >> np.uint64(32))


@compiled
def _slot(table: Shorts, held: Masks, place: Shorts, bits: np.uint64, p: int) -> np.int64:
    """Return the slot of a label, or the free one where it belongs."""
    mask = len(table) - 1
    slot = np.int64(_scrambled(bits, p * 7919)) & mask
    while table[slot] and not (held[table[slot] - 1] == bits and place[table[slot] - 1] == p):
        slot = (slot + 1) & mask
    return slot


@compiled
def _before(a: int, b: int, worth: Integers, noise: Masks) -> bool:
    return bool(worth[a] < worth[b] or (worth[a] == worth[b] and noise[a] < noise[b]))


@compiled
def _push(heap: Shorts, count: int, one: int, worth: Integers, noise: Masks) -> None:
    i = count
    while i > 0 and _before(one, heap[(i - 1) // 2], worth, noise):
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = one


@compiled
def _pop(heap: Shorts, count: int, worth: Integers, noise: Masks) -> int:
    """Return the first; ``count`` is what is left."""
    first, last = heap[0], heap[count]
    i = 0
    while 2 * i + 1 < count:
        child = 2 * i + 1
        if child + 1 < count and _before(heap[child + 1], heap[child], worth, noise):
            child += 1
        if not _before(heap[child], last, worth, noise):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = last
    return int(first)


@compiled
def _search(
    labels: Labels,
    limit: int,
    most: int,
    effort: Effort,
    table: Shorts,
    parent: Shorts,
    action: Shorts,
) -> tuple[int, int, bool]:
    """Return (label at the end or -1, its cost, whether nothing was left out)."""
    end, items = len(labels.reads), len(labels.size)
    nodes = effort.labels
    place = np.empty(nodes, np.int32)
    held = np.empty(nodes, np.uint64)
    cost = np.empty(nodes, np.int64)
    worth = np.empty(nodes, np.int64)
    noise = np.empty(nodes, np.uint64)
    heap = np.empty(nodes, np.int32)
    ahead = np.empty(nodes, np.int32)
    order = np.empty(items + 1, np.int64)
    chosen = np.empty(items + 1, np.int64)
    rate = np.empty(items, np.float64)
    place[0], held[0], cost[0], worth[0], noise[0] = 0, np.uint64(labels.start), 0, 0, 0
    parent[0] = action[0] = -1
    made = coming = 1
    ahead[0] = 0
    complete = True
    kept = np.uint64(labels.kept)
    for p in range(end + 1):
        count = 0
        for index in range(coming):
            _push(heap, count, ahead[index], worth, noise)
            count += 1
        coming = taken = 0
        while count:
            count -= 1
            label = _pop(heap, count, worth, noise)
            now = held[label]
            if table[_slot(table, held, place, now, p)] - 1 != label and label > 0:
                continue  # reached for less since
            if p == end and not kept & ~now:
                return label, int(cost[label]), complete
            if taken == effort.width:
                complete = False
                break
            again = min(p, labels.forward) if p >= labels.again_from else 0
            for choice in range(again + 1):
                # Run again first those; last of all the operation at p itself.
                first = choice == again
                if first and p == end:
                    continue
                operation = p if first else choice
                reads, writes = labels.reads[operation], labels.writes[operation]
                if reads & ~now:
                    continue
                if first:
                    then, bytes_, paid = p + 1, labels.during[p], cost[label]
                else:
                    if now & writes or not writes & labels.useful[p]:
                        continue
                    then = p
                    bytes_ = labels.resting[p] + labels.beside[operation]
                    paid = cost[label] + labels.cost[operation]
                after = (now | writes) & labels.useful[then]
                over = bytes_ - limit
                likely = paid + labels.constant[then]
                droppable = now & ~reads
                dropped = 0
                spare = 0
                for k in range(items):
                    bit = _ONE << np.uint64(k)
                    if (now | writes) & bit:
                        over += labels.size[k]
                    if after & bit:
                        likely -= labels.value[then, k]
                    if droppable & bit and labels.size[k]:
                        price = labels.value[then, k] if labels.useful[then] & bit else 0
                        rate[k] = price / labels.size[k]
                        j = dropped
                        while j > 0 and rate[order[j - 1]] > rate[k]:
                            order[j] = order[j - 1]
                            j -= 1
                        order[j] = k
                        dropped += 1
                        if price < 0:
                            spare += price
                # Every minimal set that makes room, depth first, the cheapest by the byte first.
                depth = position = sets = 0
                while True:
                    if over <= 0:
                        minimal = True
                        for j in range(depth - 1):
                            if labels.size[order[chosen[j]]] <= -over:
                                minimal = False
                        if minimal and likely <= most:
                            sets += 1
                            slot = _slot(table, held, place, after, then)
                            known = table[slot] - 1
                            if known < 0 or cost[known] > paid:
                                if made == nodes:
                                    complete = False
                                else:
                                    table[slot] = made + 1
                                    place[made], held[made] = then, after
                                    cost[made], worth[made] = paid, likely
                                    noise[made] = _scrambled(after, effort.seed)
                                    parent[made], action[made] = label, operation
                                    if then == p:
                                        _push(heap, count, made, worth, noise)
                                        count += 1
                                    else:
                                        ahead[coming] = made
                                        coming += 1
                                    made += 1
                    elif likely + spare <= most and position < dropped:
                        k = order[position]
                        bit = _ONE << np.uint64(k)
                        chosen[depth] = position
                        depth += 1
                        position += 1
                        over -= labels.size[k]
                        if labels.useful[then] & bit:
                            after &= ~bit
                            likely += labels.value[then, k]
                        continue
                    if depth == 0:
                        break
                    if sets >= effort.sets:
                        complete = False
                        break
                    depth -= 1
                    position = chosen[depth]
                    k = order[position]
                    bit = _ONE << np.uint64(k)
                    over += labels.size[k]
                    if labels.useful[then] & bit:
                        after |= bit
                        likely -= labels.value[then, k]
                    position += 1
                if first:
                    taken += 1
    return -1, 0, complete
