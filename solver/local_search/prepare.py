"""Compiling ahead of time, so that no search pays for it."""

from __future__ import annotations

import functools

import numpy as np

from memplan.solver.local_search.eviction import evict, eviction_for
from memplan.solver.local_search.flat import Flat, scratch_for
from memplan.solver.local_search.leave_out import leave_out_once
from memplan.solver.local_search.measure import measure, without_unread
from memplan.solver.local_search.walk import STATE_LENGTH, walk

__all__ = ["prepare_local_search"]


@functools.cache
def prepare_local_search() -> None:
    """Compile walk and eviction, or load what an earlier process compiled: some seconds, once."""
    none, zero, one = np.zeros(0, np.int64), np.zeros(1, np.int64), np.ones(1, np.int64)
    no, yes = np.zeros(1, np.bool_), np.ones(1, np.bool_)
    empty = np.zeros(2, np.int64)
    flat = Flat(
        size=one,
        producer=zero,
        kept=yes,
        given=none,
        work_of=zero,
        read_start=empty,
        read_item=none,
        pair_start=empty,
        pair_read=none,
        pair_written=none,
        store_start=empty,
        store_name=none,
        workspace=zero,
        time_ns=one,
        macs=one,
        allowed=yes,
        first_option=np.arange(2),
        write_start=np.arange(2),
        write_item=zero,
        uses_up=np.full(1, -1, np.int64),
        cover_start=empty,
        cover_work=none,
        mutate_start=empty,
        mutate_name=none,
        most=one,
        recomputable=no,
        demanded=no,
        names=0,
        longest=8,
        limit_bytes=0,
        macs_limit=-1,
    )
    steps = np.zeros(flat.longest, np.int64)
    measure(flat, scratch_for(flat), steps, 1)
    state = np.ones(STATE_LENGTH)
    walk(flat, scratch_for(flat), scratch_for(flat), steps, steps.copy(), state, zero.copy(), 0, 1)
    order = np.zeros(1, np.int64)
    evict(flat, eviction_for(flat, order), order, 8, np.zeros(1), np.ones(3), False, 1 << 62, steps)
    without_unread(flat, scratch_for(flat), steps, 1)
    leave_out_once(flat, scratch_for(flat), steps, steps.copy(), 1, 0)
