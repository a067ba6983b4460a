from __future__ import annotations

import pytest

from memplan.solver.clock import Clock
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.hasten import hastened
from memplan.solver.scheduling.lean import lean_schedule
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import table_of
from tests.solver.scheduling.test_lean import rows
from tests.support.random_graphs import random_graph

FAR = 60.0


def time_ns(table: Table, schedule: Schedule) -> int:
    return sum(table.time_ns[work][way] for work, way in schedule)


def hasten(table: Table, schedule: Schedule, limit_bytes: int) -> Schedule | None:
    clock = Clock()
    return hastened(table, schedule, limit_bytes, clock.now() + FAR, clock)


def peak(table: Table, schedule: Schedule) -> int:
    found = live_peak(table, schedule)
    assert found is not None
    return found


def thrifty(table: Table) -> list[tuple[int, int]]:
    """Return what runs if the rows are taken, although the plain chain is faster."""
    rows_of = {
        work: way
        for work, ways in enumerate(table.instance.works)
        for way, each in enumerate(ways.ways)
        if each.name == "rows"
    }
    return needed_schedule(table, fastest_ways(table) | rows_of)


def test_room_is_spent_on_time_and_not_beyond_the_limit() -> None:
    table = table_of(rows(saved=False, rows_moved=99_999), batch=1)
    start = thrifty(table)
    plain = needed_schedule(table, dict.fromkeys(range(len(table.writes)), 0))
    assert time_ns(table, plain) < time_ns(table, start)
    roomy = hasten(table, start, peak(table, plain))
    assert roomy is not None
    assert time_ns(table, roomy) < time_ns(table, start)
    tight = hasten(table, start, peak(table, plain) - 1)
    assert tight is not None
    assert peak(table, tight) < peak(table, plain)
    assert hasten(table, start, 1) is None


@pytest.mark.parametrize("seed", range(25))
def test_never_slower_and_always_within_the_limit(seed: int) -> None:
    table = table_of(random_graph(seed), update="full")
    start = lean_schedule(table, fastest_ways(table))
    limit = peak(table, start) * 5 // 4
    found = hasten(table, start, limit)
    if found is not None:
        assert peak(table, found) <= limit
        assert time_ns(table, found) <= time_ns(table, start)
