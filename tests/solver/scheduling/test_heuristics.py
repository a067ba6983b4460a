from __future__ import annotations

import time

from memplan.solver.local_search import anneal
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.heuristics import find_schedules, smallest_peak
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.techniques import Techniques
from tests.solver.problems import skip, steps, table_of, time_ns
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain

SECONDS = 0.4


def test_it_finds_the_recomputation_that_fits() -> None:
    table = table_of(skip())
    better: list[tuple[list[tuple[int, int]], int]] = []
    plain = steps(table, "f", "g", "h", "k", "join")
    deadline = time.monotonic() + SECONDS
    best, overflow = anneal(table, plain, 120, deadline, 0, lambda s, t: better.append((s, t)))
    assert overflow == 0
    assert live_peak(table, best) == 120
    assert sum(table.time_ns[v][w] for v, w in best) == 6 * time_ns(10)
    assert better
    assert all((live_peak(table, schedule) or 0) <= 120 for schedule, _ in better)
    times = [spent for _, spent in better]
    assert times == sorted(times, reverse=True)


def test_it_drops_a_recomputation_that_is_not_needed() -> None:
    table = table_of(skip())
    again = steps(table, "f", "g", "h", "k", "f", "join")
    best, overflow = anneal(
        table, again, 176, time.monotonic() + SECONDS, 0, lambda schedule, spent: None
    )
    assert (best, overflow) == (steps(table, "f", "g", "h", "k", "join"), 0)


def test_the_start_is_never_made_worse() -> None:
    table = table_of(chain(5))
    start = needed_schedule(table, fastest_ways(table))
    peak = live_peak(table, start)
    assert peak is not None
    limit = peak - 200
    before = _overflow_of(table, start, limit)
    _, overflow = anneal(table, start, limit, time.monotonic() + 0.1, 3, lambda s, t: None)
    assert overflow <= before


def _overflow_of(table: Table, schedule: Schedule, limit: int) -> int:
    deadline = time.monotonic()  # no time: the start itself comes back
    best, overflow = anneal(table, schedule, limit, deadline, 0, lambda s, t: None)
    assert best == list(schedule)
    return overflow


def test_an_invalid_start_comes_back_as_it_is() -> None:
    table = table_of(skip())
    wrong = steps(table, "join")
    best, overflow = anneal(table, wrong, 120, time.monotonic() + 0.1, 0, lambda s, t: None)
    assert best == wrong
    assert overflow > 1 << 60


def test_schedules_that_fit_come_fastest_first() -> None:
    table = table_of(skip())
    for techniques in (Techniques(), Techniques.without("greedy"), Techniques.without("annealing")):
        found = find_schedules(table, 120, SECONDS, 0, techniques)
        spent, peak, schedule = found.fitting[0]
        assert spent == 6 * time_ns(10)
        assert live_peak(table, schedule) == peak == 120
        assert [entry[:2] for entry in found.fitting] == sorted(e[:2] for e in found.fitting)


def test_what_is_not_allowed_is_not_found() -> None:
    # The one recomputation that fits costs 10 MACs.
    table = table_of(skip(), compute_limit=0.0)
    found = find_schedules(table, 120, 0.2, 0, Techniques())
    assert found.fitting == []
    assert found.least_peak == 176


def test_the_smallest_peak() -> None:
    table = table_of(skip())
    found = smallest_peak(table, 112, SECONDS, 0)
    assert found.least_peak == 120
    assert live_peak(table, found.least) == 120


def test_a_schedule_without_extra_macs_is_always_known() -> None:
    # The fastest way and the one that saves most both need more MACs than the plain one.
    build = GraphBuilder("macs", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    build.tensor("out", "activation", 8)
    build.operation(
        "f",
        "forward",
        [alternative(["x"], macs=10, moved=90_000), alternative(["x"], "fast", macs=20)],
        ["out"],
    )
    table = table_of(build.build(["out"]), compute_limit=0.0)

    for techniques in (Techniques(), Techniques.without("greedy", "annealing")):
        found = find_schedules(table, 100, 0.1, 0, techniques)
        assert [schedule for _, _, schedule in found.fitting] == [((0, 0),)]
    assert smallest_peak(table, 0, 0.1, 0).least == ((0, 0),)
