"""One greedy run in machine code: operations in order, eviction by score, recomputation.

What is missing is computed again; what does not fit is evicted, first the tensor of least

    weight * recompute_time ** c / (size ** a * (time to next use) ** b).

The recompute time of a tensor counts from what is present, shared parts twice.  It is kept until
something on the way comes or goes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.local_search.flat import Flags, Flat, Numbers

__all__ = ["Eviction", "evict", "eviction_for"]

Reals = NDArray[np.float64]


class Eviction(NamedTuple):
    """Memory of runs over one order; each thread needs its own."""

    #: Positions that read each item, ascending: those of item ``i`` at ``start[i] : start[i + 1]``.
    use_start: Numbers
    use: Numbers
    #: Works that read each item by the option of this order, in the same form.
    reader_start: Numbers
    reader: Numbers
    #: Of each work, the option by which it runs.
    option: Numbers
    evictable: Flags
    #: Logarithms of 1, 2, 3, ... and of sizes.
    logarithm: Reals
    log_size: Reals
    # State of a run.
    #: Of each item, where in ``use`` its next use is looked for.
    cursor: Numbers
    present: Flags
    #: Items that are present and may be evicted, in any order, and where each item is among them.
    candidates: Numbers
    where: Numbers
    #: Time to bring an item back, and whether it is known.
    cost: Reals
    log_cost: Reals
    known: Flags
    #: How often each work has run, and which stores have changed.
    times: Numbers
    changed: Flags
    #: How many of the steps at hand read each item.
    held: Numbers
    stack: Numbers
    closure: Numbers
    in_closure: Flags


def eviction_for(flat: Flat, order: Numbers) -> Eviction:
    """Return memory for runs of ``order`` (options)."""
    items, works = len(flat.size), len(flat.most)
    option = flat.first_option[:-1].copy()
    for work in range(works):
        for each in range(flat.first_option[work], flat.first_option[work + 1]):
            if flat.allowed[each]:
                option[work] = each
                break
    option[flat.work_of[order]] = order
    positions, items_read = _reads(flat, order)
    kept = np.flatnonzero(flat.kept)
    use_start, use = _grouped(
        np.concatenate((items_read, kept)),
        np.concatenate((positions, np.full(len(kept), len(order)))),
        items,
    )
    again = np.flatnonzero(flat.recomputable)
    numbers, items_read = _reads(flat, option[again])
    reader_start, reader = _grouped(items_read, again[numbers], items)
    producer = flat.producer
    evictable = (flat.size > 0) & (producer >= 0) & flat.recomputable[producer]
    most = max(len(order), works) + 2
    return Eviction(
        use_start=use_start,
        use=use,
        reader_start=reader_start,
        reader=reader,
        option=option,
        evictable=evictable,
        logarithm=np.log(np.arange(1, most + 1, dtype=np.float64)),
        log_size=np.log(np.maximum(1, flat.size).astype(np.float64)),
        cursor=np.zeros(items, np.int64),
        present=np.zeros(items, np.bool_),
        candidates=np.zeros(items, np.int64),
        where=np.zeros(items, np.int64),
        cost=np.zeros(items),
        log_cost=np.zeros(items),
        known=np.zeros(items, np.bool_),
        times=np.zeros(works, np.int64),
        changed=np.zeros(flat.names, np.bool_),
        held=np.zeros(items, np.int64),
        stack=np.zeros(items + works + 1, np.int64),
        closure=np.zeros(works + 1, np.int64),
        in_closure=np.zeros(works, np.bool_),
    )


def _reads(flat: Flat, options: Numbers) -> tuple[Numbers, Numbers]:
    """Return what options read: for each operand the place of its option, and the item."""
    first, end = flat.read_start[options], flat.read_start[options + 1]
    places = np.repeat(np.arange(len(options)), end - first)
    within = np.arange(len(places)) - np.repeat(np.cumsum(end - first) - (end - first), end - first)
    return places, flat.read_item[first[places] + within]


def _grouped(keys: Numbers, values: Numbers, count: int) -> tuple[Numbers, Numbers]:
    """Return where the values of each key from 0 to ``count`` start, and them, in their order."""
    start = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(keys, minlength=count), out=start[1:])
    return start, values[np.argsort(keys, kind="stable")].astype(np.int64)


# Whoever gets a tuple of arrays counts references to each of them, so what is called for every step
# gets arrays, and what is used in loops has a name of its own.


@compiled
def _next_use(item: int, position: int, cursor: Numbers, use_start: Numbers, use: Numbers) -> int:
    """Return the next position behind this one that reads an item; -1: none."""
    at, end = cursor[item], use_start[item + 1]
    while at < end and use[at] <= position:
        at += 1
    cursor[item] = at
    return int(use[at]) if at < end else -1


@compiled
def _forget(
    item: int,
    reader_start: Numbers,
    reader: Numbers,
    write_start: Numbers,
    write_item: Numbers,
    known: Flags,
    present: Flags,
    stack: Numbers,
) -> None:
    """Forget recompute times that count on whether an item is present."""
    top = 1
    stack[0] = item
    while top > 0:
        top -= 1
        source = stack[top]
        for at in range(reader_start[source], reader_start[source + 1]):
            work = reader[at]
            for slot in range(write_start[work], write_start[work + 1]):
                written = write_item[slot]
                if known[written]:
                    known[written] = False
                    if not present[written]:
                        stack[top] = written
                        top += 1


@compiled
def _count_time(flat: Flat, run: Eviction, first: int) -> None:
    """Find the time to bring an item back; infinite if something may not run any more."""
    producer, read_start, read_item = flat.producer, flat.read_start, flat.read_item
    time_ns, most = flat.time_ns, flat.most
    stack, known, present, times = run.stack, run.known, run.present, run.times
    cost, log_cost, option_of = run.cost, run.log_cost, run.option
    top = 1
    stack[0] = first
    while top > 0:
        item = stack[top - 1]
        if known[item]:
            top -= 1
            continue
        work = producer[item]
        if work < 0 or times[work] >= most[work]:
            cost[item] = np.inf
            known[item] = True
            top -= 1
            continue
        option = option_of[work]
        time = float(time_ns[option])
        complete = True
        for at in range(read_start[option], read_start[option + 1]):
            read = read_item[at]
            if present[read]:
                continue
            if known[read]:
                time += cost[read]
            else:
                stack[top] = read
                top += 1
                complete = False
                break
        if complete:
            cost[item] = time
            log_cost[item] = np.log(max(1.0, time))
            known[item] = True
            top -= 1


@compiled
def _victim(
    flat: Flat, run: Eviction, position: int, count: int, weights: Reals, exponents: Reals
) -> int:
    """Return which of ``count`` candidates to evict, or -1."""
    candidates, held, known = run.candidates, run.held, run.known
    cost, log_cost, log_size, logarithm = run.cost, run.log_cost, run.log_size, run.logarithm
    cursor, use_start, use = run.cursor, run.use_start, run.use
    of_size, of_distance, of_time = exponents[0], exponents[1], exponents[2]
    best, least = -1, np.inf
    for number in range(count):
        item = candidates[number]
        if held[item] > 0:
            continue
        after = _next_use(item, position, cursor, use_start, use)
        if after < 0:
            return int(item)
        if not known[item]:
            _count_time(flat, run, item)
        if cost[item] == np.inf:
            continue
        score = (
            weights[item]
            + of_time * log_cost[item]
            - of_size * log_size[item]
            - of_distance * logarithm[after - position]
        )
        if score < least:
            best, least = item, score
    return int(best)


@compiled
def _close(flat: Flat, run: Eviction, option: int) -> int:
    """Collect the options that bring back what an option misses, in order; return how many."""
    read_start, read_item, producer = flat.read_start, flat.read_item, flat.producer
    stack, closure, present, in_closure = run.stack, run.closure, run.present, run.in_closure
    number = 0
    top = 1
    stack[0] = option
    while top > 0:
        top -= 1
        each = stack[top]
        for at in range(read_start[each], read_start[each + 1]):
            work = producer[read_item[at]]
            if present[read_item[at]] or work < 0 or in_closure[work]:
                continue
            in_closure[work] = True
            closure[number] = run.option[work]
            number += 1
            stack[top] = run.option[work]
            top += 1
    for at in range(number):
        in_closure[flat.work_of[closure[at]]] = False
    closure[:number].sort()  # options are numbered in the order of works
    return number


@compiled
def evict(
    flat: Flat,
    run: Eviction,
    order: Numbers,
    limit: int,
    weights: Reals,
    exponents: Reals,
    keep_inputs: bool,
    time_limit_ns: int,
    steps: Numbers,
) -> int:
    """Write a schedule that tries to stay within the limit; return its length, 0: it gave up.

    Args:
        weights: logarithm of the weight of each item.
        exponents: of size, distance and time.
        keep_inputs: hold what the host has written to the end.
        time_limit_ns: of recomputations.
    """
    size, producer, kept = flat.size, flat.producer, flat.kept
    read_start, read_item, work_of = flat.read_start, flat.read_item, flat.work_of
    write_start, write_item, most = flat.write_start, flat.write_item, flat.most
    pair_start, pair_read, pair_written = flat.pair_start, flat.pair_read, flat.pair_written
    store_start, store_name, time_ns = flat.store_start, flat.store_name, flat.time_ns
    mutate_start, mutate_name = flat.mutate_start, flat.mutate_name
    workspace, uses_up = flat.workspace, flat.uses_up
    use_start, use, cursor = run.use_start, run.use, run.cursor
    reader_start, reader, stack = run.reader_start, run.reader, run.stack
    evictable, candidates, where = run.evictable, run.candidates, run.where
    present, known, held = run.present, run.known, run.held
    times, changed, closure = run.times, run.changed, run.closure
    cursor[:] = use_start[:-1]
    present[:] = False
    known[:] = False
    held[:] = 0
    times[:] = 0
    changed[:] = False
    live = 0
    count = 0
    length = 0
    left_ns = time_limit_ns
    for item in flat.given:
        if keep_inputs or use_start[item] < use_start[item + 1]:
            present[item] = True
            live += size[item]
    for position in range(len(order)):
        target = order[position]
        missing = False
        for at in range(read_start[target], read_start[target + 1]):
            held[read_item[at]] += 1
            missing = missing or not present[read_item[at]]
        again = _close(flat, run, target) if missing else 0
        for at in range(again):
            for slot in range(read_start[closure[at]], read_start[closure[at] + 1]):
                held[read_item[slot]] += 1
        for at in range(again + 1):
            option = closure[at] if at < again else target
            work = work_of[option]
            if at < again:
                left_ns -= time_ns[option]
                if left_ns < 0 or times[work] >= most[work]:
                    return 0
                for slot in range(store_start[option], store_start[option + 1]):
                    if changed[store_name[slot]]:
                        return 0  # its weight has been updated already
            for slot in range(read_start[option], read_start[option + 1]):
                if not present[read_item[slot]]:
                    return 0
            # Room for what is new, some of it in place of an operand that dies.
            scratch = workspace[option]
            extra = scratch
            for slot in range(write_start[work], write_start[work + 1]):
                if not present[write_item[slot]]:
                    extra += size[write_item[slot]]
            for slot in range(pair_start[option], pair_start[option + 1]):
                read = pair_read[slot]
                if (
                    present[pair_written[slot]]
                    or kept[read]
                    or (keep_inputs and producer[read] < 0)
                ):
                    continue
                if _next_use(read, position, cursor, use_start, use) < 0:
                    extra -= size[read]
                    break
            spent = uses_up[option]
            if spent >= 0:  # what is written begins to live when the operand is gone
                extra = max(scratch, extra - scratch - size[spent])
            while live + extra > limit:
                victim = _victim(flat, run, position, count, weights, exponents)
                if victim < 0:
                    break
                present[victim] = False
                live -= size[victim]
                count -= 1
                last = candidates[count]
                candidates[where[victim]] = last
                where[last] = where[victim]
                _forget(
                    victim, reader_start, reader, write_start, write_item, known, present, stack
                )
            if length >= len(steps):
                return 0
            steps[length] = option
            length += 1
            times[work] += 1
            for slot in range(mutate_start[option], mutate_start[option + 1]):
                changed[mutate_name[slot]] = True
            for slot in range(write_start[work], write_start[work + 1]):
                item = write_item[slot]
                if times[work] >= most[work]:
                    known[item] = False
                if not present[item]:
                    present[item] = True
                    live += size[item]
                    if evictable[item]:
                        where[item] = count
                        candidates[count] = item
                        count += 1
                    _forget(
                        item, reader_start, reader, write_start, write_item, known, present, stack
                    )
            # What nobody needs any more is dropped.
            first, end = read_start[option], read_start[option + 1]
            for slot in range(first, end):
                held[read_item[slot]] -= 1
            writes = write_start[work + 1] - write_start[work]
            for slot in range(end - first + writes):
                if slot < end - first:
                    item = read_item[first + slot]
                else:
                    item = write_item[write_start[work] + slot - (end - first)]
                if not present[item] or held[item] > 0 or (keep_inputs and producer[item] < 0):
                    continue
                if _next_use(item, position, cursor, use_start, use) < 0:
                    present[item] = False
                    live -= size[item]
                    if evictable[item]:
                        count -= 1
                        last = candidates[count]
                        candidates[where[item]] = last
                        where[last] = where[item]
                    _forget(
                        item, reader_start, reader, write_start, write_item, known, present, stack
                    )
    return length
