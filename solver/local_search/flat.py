"""A fixed instance as flat arrays, the form that compiled loops read.

Lists of lists are concatenated: those of entry ``i`` are at ``start[i] : start[i + 1]``.  An
*option* is one way of one work; options of all works are numbered through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from memplan.solver.schedule import Schedule, Table

__all__ = ["Flat", "Scratch", "flatten", "scratch_for", "to_options", "to_schedule"]

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Schedules grow to at most so many times the number of works.
_MOST_COMPUTATIONS = 4


class Flat(NamedTuple):
    """What never changes during a walk."""

    # Items (tensors).
    size: Numbers
    producer: Numbers
    kept: Flags
    given: Numbers
    # Options.
    work_of: Numbers
    read_start: Numbers
    read_item: Numbers
    pair_start: Numbers
    pair_read: Numbers
    pair_written: Numbers
    store_start: Numbers
    store_name: Numbers
    workspace: Numbers
    time_ns: Numbers
    macs: Numbers
    allowed: Flags
    # Works (operations).
    first_option: Numbers
    write_start: Numbers
    write_item: Numbers
    #: Item that is used up, or -1.
    uses_up: Numbers
    cover_start: Numbers
    cover_work: Numbers
    mutate_start: Numbers
    mutate_name: Numbers
    most: Numbers
    recomputable: Flags
    demanded: Flags
    # Limits.
    names: int
    longest: int
    limit_bytes: int
    macs_limit: int


class Scratch(NamedTuple):
    """What the measure writes: the tensor instances of a schedule, and memory for moves."""

    latest: Numbers
    runs: Numbers
    changed: Flags
    item_of: Numbers
    #: Step in which it is computed; -1 of what is given.
    made_at: Numbers
    start: Numbers
    end: Numbers
    #: The step that uses an instance up, or -1.
    used_up_at: Numbers
    taken: Flags
    written_at: Numbers
    served: Numbers
    served_start: Numbers
    profile: Numbers
    #: Number of instances, then of steps measured.
    measured: Numbers
    wanted: Flags
    trial: Numbers
    inserted: Numbers
    pending: Flags


def flatten(table: Table, limit_bytes: int, start_length: int = 0) -> Flat:
    """Return the arrays of ``table``, with the limits that a walk keeps to.

    Args:
        start_length: steps of the schedule that a walk begins with.
    """
    works = table.instance.works
    names = sorted({name for ways in table.mutates for names in ways for name in names})
    number = {name: index for index, name in enumerate(names)}
    options = [(work, way) for work, ways in enumerate(table.reads) for way in range(len(ways))]
    read_start, read_item = _joined(table.reads[v][w] for v, w in options)
    pair_start, pairs = _joined([i for pair in table.pairs[v][w] for i in pair] for v, w in options)
    store_start, store_name = _joined(
        sorted(number[name] for name in table.stores[v][w]) for v, w in options
    )
    write_start, write_item = _joined(table.writes)
    mutate_start, mutate_name = _joined(
        sorted(number[name] for name in table.mutates[v][w]) for v, w in options
    )
    cover_start, cover_work = _joined(table.covers[v][w] for v, w in options)
    first_option, _ = _joined(table.reads)
    allowed = [way in table.allowed[work] for work, way in options]
    return Flat(
        size=_numbers(table.size),
        producer=_numbers(table.producer.get(item, -1) for item in range(len(table.size))),
        kept=np.array([item in table.kept for item in range(len(table.size))], dtype=np.bool_),
        given=_numbers(table.given),
        work_of=_numbers(work for work, _ in options),
        read_start=read_start,
        read_item=read_item,
        pair_start=pair_start // 2,
        pair_read=pairs[0::2].copy(),
        pair_written=pairs[1::2].copy(),
        store_start=store_start,
        store_name=store_name,
        workspace=_numbers(table.workspace[v][w] for v, w in options),
        time_ns=_numbers(table.time_ns[v][w] for v, w in options),
        macs=_numbers(table.macs[v][w] for v, w in options),
        allowed=np.array(allowed, dtype=np.bool_),
        first_option=first_option,
        write_start=write_start,
        write_item=write_item,
        uses_up=_numbers(table.uses_up[v][w] for v, w in options),
        cover_start=cover_start,
        cover_work=cover_work,
        mutate_start=mutate_start,
        mutate_name=mutate_name,
        most=_numbers(table.most_computations),
        recomputable=np.array([work.recomputable for work in works], dtype=np.bool_),
        demanded=np.array([work.demanded[0] for work in works], dtype=np.bool_),
        names=len(names),
        longest=max(_MOST_COMPUTATIONS * len(works), start_length) + 64,
        limit_bytes=limit_bytes,
        macs_limit=-1 if table.macs_limit is None else table.macs_limit,
    )


def scratch_for(flat: Flat) -> Scratch:
    """Return memory for walks over ``flat``; one per thread."""
    items, works, longest = len(flat.size), len(flat.most), flat.longest
    most_writes = int(np.diff(flat.write_start).max(initial=0))
    most_reads = int(np.diff(flat.read_start).max(initial=0))
    instances = len(flat.given) + longest * max(1, most_writes)
    return Scratch(
        latest=np.empty(items, np.int64),
        runs=np.empty(works, np.int64),
        changed=np.empty(flat.names, np.bool_),
        item_of=np.empty(instances, np.int64),
        made_at=np.empty(instances, np.int64),
        start=np.empty(instances, np.int64),
        end=np.empty(instances, np.int64),
        used_up_at=np.empty(instances, np.int64),
        taken=np.empty(instances, np.bool_),
        written_at=np.empty(items, np.int64),
        served=np.empty(longest * max(1, most_reads), np.int64),
        served_start=np.empty(longest + 1, np.int64),
        profile=np.empty(longest + 1, np.int64),
        measured=np.zeros(2, np.int64),
        wanted=np.empty(items, np.bool_),
        trial=np.empty(longest, np.int64),
        inserted=np.empty(works + 1, np.int64),
        pending=np.empty(works, np.bool_),
    )


def to_options(flat: Flat, schedule: Schedule) -> Numbers:
    """Return the option of each step."""
    return _numbers(int(flat.first_option[work]) + way for work, way in schedule)


def to_schedule(flat: Flat, options: Sequence[int] | Numbers) -> list[tuple[int, int]]:
    """Return (work, way) of each step."""
    return [(int(flat.work_of[o]), int(o - flat.first_option[flat.work_of[o]])) for o in options]


def _numbers(values: Iterable[int]) -> Numbers:
    return np.array(list(values), dtype=np.int64)


def _joined(lists: Iterable[Sequence[object]]) -> tuple[Numbers, Numbers]:
    """Return where each list starts in their concatenation, and the concatenation of numbers."""
    starts, joined = [0], list[int]()
    for values in lists:
        joined.extend(value for value in values if isinstance(value, int))
        starts.append(starts[-1] + len(values))
    return _numbers(starts), _numbers(joined)
