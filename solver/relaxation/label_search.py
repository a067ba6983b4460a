"""Recomputation along a line by a search from its end, over what is needed, in machine code.

A *label* is (place p, set N of items of the forward pass, cost): N is what must be there right
before the operation at place p first runs, so that from there on it all works out at this cost.
One step back the operation at p - 1 first runs: what it writes is needed no more, what it reads is.
Or an operation of the forward pass ran again: the same, at its price.  Nothing is ever given up,
since what is not needed is not there.

*Late.*  While the step to p - 1 fits, no other is taken: that an operation ran again is decided
only where something does not fit.  In the plan it may have run later, at a place q >= p: there what
the operations p .. q - 1 alone read was not needed yet.  If it fits at one such place it is let
pass.  So this is a relaxation.  Every plan that fits has its label: go back through the plan, and
put off steps back that run something again until the step to p - 1 does not fit.  Then take the
first of those put off; the check lets it pass as what is needed now is, but for what was read
meanwhile, what was needed in the plan.  (Where a label needs no more at no more cost it stays so.)
So nothing costs less than the cheapest label at place 0.  Its schedule (``_placed``) mostly fits;
whoever asks has to look.

*Exact* search takes every step back that fits where it stands; it makes far more labels.

Labels of one place are taken by cost + potential (``StageProgram.potentials``), a bound on what
comes before; above ``most`` they are dropped.  At most ``width`` are taken at a place: if that was
never too few, the search was complete.  Nothing is supposed about when, in which order or how often
operations run again.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Integers
from memplan.solver.relaxation.bit_search import ONE, Masks, Shorts, pop, push, scrambled, sum_over

__all__ = ["Effort", "Found", "Labels", "find_schedule", "prepare_labels"]


class Labels(NamedTuple):
    """A line in bits: item k is bit k."""

    forward: int
    reads: Masks  # per operation
    writes: Masks  # per operation
    during: Integers  # bytes of all else while an operation first runs
    resting: Integers  # bytes of all else between places
    beside: Integers  # bytes of an operation beside its items
    size: Integers  # per item
    cost: Integers  # per operation of the forward pass, times ``fraction``
    constant: Integers  # per place: potential of the empty set
    value: Integers  # per place and item: what needing it adds
    start: int
    kept: int


class Effort(NamedTuple):
    """How far the search goes."""

    #: Labels that are taken at a place.
    width: int
    #: Labels in all.
    labels: int
    #: Ties between labels are broken by it.
    seed: int
    #: Else late.
    exact: bool = False


class Found(NamedTuple):
    """What a search found.

    Attributes:
        order: operations in the order in which they run; None: nothing costs ``most`` or less, or
            it was not found.  After a late search it may exceed the limit.
        cost: of recomputation.
        complete: nothing was left out: no schedule costs less than this one, or ``most`` or less if
            there is none here.
        labels: how many were made.
    """

    order: list[int] | None
    cost: int
    complete: bool
    labels: int


def find_schedule(labels: Labels, limit_bytes: int, most: int, effort: Effort) -> Found:
    """Look for the cheapest schedule that costs ``most`` at most."""
    slots = 1
    while slots < 2 * effort.labels:
        slots *= 2
    parent = np.empty(effort.labels, np.int32)
    action = np.empty(effort.labels, np.int32)
    table = np.zeros(slots, np.int32)
    goal, cost, complete, made = _search(labels, limit_bytes, most, effort, table, parent, action)
    if goal < 0:
        return Found(None, 0, complete, made)
    steps: list[int] = []
    while parent[goal] >= 0:
        steps.append(int(action[goal]))
        goal = int(parent[goal])
    order = steps if effort.exact else _placed(labels, limit_bytes, steps)
    return Found(order, int(cost), complete, made)


def _placed(labels: Labels, limit_bytes: int, steps: list[int]) -> list[int]:
    """Move what runs again behind the first computations beside which it does not fit."""
    end, need, place = len(labels.reads), labels.kept, len(labels.reads)
    firsts = list(range(end))
    again: list[tuple[int, int]] = []  # (place, operation), the last to run first
    for operation in reversed(steps):
        if firsts and operation == firsts[-1]:
            place = firsts.pop()
        else:
            fitting = _fits_at(labels, limit_bytes, place, operation, np.uint64(need))
            again.append((int(fitting), operation))
        need = (need & ~int(labels.writes[operation])) | int(labels.reads[operation])
    latest = 0
    at: list[list[int]] = [[] for _ in range(end + 1)]
    for fitting, operation in reversed(again):  # in the order in which they run
        latest = max(latest, fitting)
        at[latest].append(operation)
    return [operation for place in range(end) for operation in (*at[place], place)] + at[end]


@functools.cache
def prepare_labels() -> None:
    """Compile the search, or load what an earlier process compiled: some seconds, once."""
    numbers = np.ones(1, np.int64)
    labels = Labels(
        forward=1,
        reads=np.array([0, 1], np.uint64),
        writes=np.array([1, 0], np.uint64),
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
    find_schedule(labels, 2, 1, Effort(1, 8, 0))
    _fits_at(labels, 2, 1, 0, ONE)


@compiled
def _slot(table: Shorts, needed: Masks, place: Shorts, bits: np.uint64, p: int) -> np.int64:
    """Return the slot of a label, or the free one where it belongs."""
    mask = len(table) - 1
    slot = np.int64(scrambled(bits, p * 7919)) & mask
    while table[slot] and not (needed[table[slot] - 1] == bits and place[table[slot] - 1] == p):
        slot = (slot + 1) & mask
    return slot


@compiled
def _fits_at(labels: Labels, limit: int, place: int, operation: int, need: np.uint64) -> int:
    """Return the first place from ``place`` on at which an operation may run again, or -1."""
    own = labels.reads[operation] | labels.writes[operation]
    end = len(labels.reads)
    for q in range(place, end + 1):
        bytes_ = labels.resting[q] + labels.beside[operation]
        if bytes_ + sum_over(need | own, labels.size) <= limit:
            return q
        if q < end:
            need &= ~labels.reads[q]
    return -1


@compiled
def _search(
    labels: Labels,
    limit: int,
    most: int,
    effort: Effort,
    table: Shorts,
    parent: Shorts,
    action: Shorts,
) -> tuple[int, int, bool, int]:
    """Return (label at place 0 or -1, its cost, whether nothing was left out, labels made)."""
    end, nodes = len(labels.reads), effort.labels
    place = np.empty(nodes, np.int32)
    needed = np.empty(nodes, np.uint64)
    cost = np.empty(nodes, np.int64)
    worth = np.empty(nodes, np.int64)
    noise = np.empty(nodes, np.uint64)
    heap = np.empty(nodes, np.int32)
    ahead = np.empty(nodes, np.int32)
    given = np.uint64(labels.start)
    place[0], needed[0], cost[0], worth[0], noise[0] = end, np.uint64(labels.kept), 0, 0, 0
    parent[0] = action[0] = -1
    made = coming = 1
    ahead[0] = 0
    complete = True
    for p in range(end, -1, -1):
        count = 0
        for index in range(coming):
            push(heap, count, ahead[index], worth, noise)
            count += 1
        coming = taken = 0
        while count:
            count -= 1
            label = pop(heap, count, worth, noise)
            need = needed[label]
            if label > 0 and table[_slot(table, needed, place, need, p)] - 1 != label:
                continue  # reached for less since
            if p == 0:
                if not need & ~given:
                    return label, int(cost[label]), complete, made
                continue
            if taken == effort.width:
                complete = False
                break
            taken += 1
            there = need | labels.reads[p - 1] | labels.writes[p - 1]
            fits = labels.during[p - 1] + sum_over(there, labels.size) <= limit
            again = 0 if fits and not effort.exact else min(p, labels.forward)
            for choice in range(again + 1):
                first = choice == again
                operation = p - 1 if first else choice
                reads, writes = labels.reads[operation], labels.writes[operation]
                if first:
                    if not fits:
                        continue
                    then, paid = p - 1, cost[label]
                else:
                    if not need & writes:
                        continue
                    then, paid = p, cost[label] + labels.cost[operation]
                after = (need & ~writes) | reads
                likely = max(
                    paid, paid + labels.constant[then] + sum_over(after, labels.value[then])
                )
                if likely > most:
                    continue
                slot = _slot(table, needed, place, after, then)
                known = table[slot] - 1
                if known >= 0 and cost[known] <= paid:
                    continue
                if not first:
                    at = _fits_at(labels, limit, p, operation, need)
                    if at < 0 or (effort.exact and at > p):
                        continue
                if made == nodes:
                    complete = False
                    continue
                table[slot] = made + 1
                place[made], needed[made] = then, after
                cost[made], worth[made] = paid, likely
                noise[made] = scrambled(after, effort.seed)
                parent[made], action[made] = label, operation
                if first:
                    ahead[coming] = made
                    coming += 1
                else:
                    push(heap, count, made, worth, noise)
                    count += 1
                made += 1
    return -1, 0, complete, made
