from __future__ import annotations

import random

import pytest

from memplan.solver.schedule import Table, live_peak
from memplan.solver.scheduling.greedy import Exponents, evict_and_recompute, random_exponents
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from tests.solver.problems import PLENTY, skip, steps, table_of, time_ns
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import chain


def greedy(
    table: Table,
    limit_bytes: int,
    time_limit_ns: float = float("inf"),
    keep_inputs: bool = True,
) -> list[tuple[int, int]] | None:
    order = needed_schedule(table, fastest_ways(table))
    chance = random.Random(0)
    exponents = Exponents(keep_inputs=keep_inputs)
    return evict_and_recompute(table, order, limit_bytes, exponents, chance, time_limit_ns)


def test_nothing_is_recomputed_where_everything_fits() -> None:
    table = table_of(skip())
    assert greedy(table, PLENTY) == steps(table, "f", "g", "h", "k", "join")
    assert greedy(table, 176, keep_inputs=False) == steps(table, "f", "g", "h", "k", "join")


def test_what_does_not_fit_is_evicted_and_recomputed() -> None:
    table = table_of(skip())
    schedule = greedy(table, 175)
    assert schedule == steps(table, "f", "g", "h", "k", "f", "join")
    assert live_peak(table, schedule) == 120


def test_nothing_is_evicted_that_cannot_come_back() -> None:
    table = table_of(skip())
    # x is gone after f, so a must stay, and the limit is exceeded.
    schedule = greedy(table, 175, keep_inputs=False)
    assert schedule == steps(table, "f", "g", "h", "k", "join")


def test_it_may_exceed_what_cannot_be_had() -> None:
    table = table_of(skip(recomputable=False))
    schedule = greedy(table, 100)
    assert schedule is not None
    assert live_peak(table, schedule) == 176


def test_it_gives_up_when_it_recomputes_for_too_long() -> None:
    table = table_of(skip())
    assert greedy(table, 175, time_ns(10) - 1) is None
    assert greedy(table, 175, time_ns(10)) is not None


def test_no_operation_runs_more_often_than_allowed() -> None:
    table = table_of(chain(6), computations=1)
    schedule = greedy(table, 700)
    assert schedule is None or len(set(schedule)) == len(schedule)


@pytest.mark.parametrize("limit_bytes", [600, 700, 800, 900])
def test_schedules_are_valid_whatever_the_exponents(limit_bytes: int) -> None:
    table = table_of(chain(6))
    order = needed_schedule(table, fastest_ways(table))
    chance = random.Random(limit_bytes)
    found = 0
    for _ in range(40):
        exponents = random_exponents(chance)
        schedule = evict_and_recompute(table, order, limit_bytes, exponents, chance)
        if schedule is not None:
            assert live_peak(table, schedule) is not None
            found += 1
    assert found


def test_tensors_without_bytes_are_not_evicted() -> None:
    build = GraphBuilder("empty", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    for name, size, reads in (
        ("nothing", 0, ["x"]),
        ("b", 64, ["x"]),
        ("c", 64, ["b"]),
        ("out", 8, ["c", "nothing"]),
    ):
        build.tensor(name, "activation", size)
        build.operation(name, "forward", alternative(reads, macs=1), [name], recomputable=True)
    table = table_of(build.build(["out"]))
    assert greedy(table, 64) == steps(table, "nothing", "b", "c", "out")
