"""What a search keeps: tables and estimates of a micro-batch, the best and the smallest plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memplan.solver import pursuit as module
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import WorkClock
from memplan.solver.instance import Instance
from memplan.solver.masks.estimate import MemoryEstimate, estimate_memory
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side, fits
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.solution import Solution, place
from memplan.solver.techniques import Techniques
from tests.solver.problems import instance_of
from tests.support.hand_graphs import two_layers

BUDGET = 10_000


def open_side() -> Side:
    instance = instance_of(two_layers(), BUDGET, update="auto", slice_divisors=(2,))
    return Side(instance.samples, instance, lower_bound(instance))


def test_the_latest_tables_are_kept() -> None:
    side = open_side()
    options = [option for choice in side.instance.choices for option in choice.options if option]
    masks = [{option.layer: option} for option in options]
    first = side.table(masks[0])
    assert side.table(masks[0]) is first and side.table(dict(masks[0])) is first
    assert first.instance.mask() == masks[0]
    assert len(masks) > module._MOST_TABLES
    for mask in masks[1:]:
        side.table(mask)
    again = side.table(masks[0])
    assert again is not first and again.instance.mask() == masks[0]


def test_an_estimate_is_made_again_for_more_samples_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def estimated(
        instance: Instance, samples: int | None, measured: dict[int, int]
    ) -> MemoryEstimate:
        asked.append(samples)
        return estimate_memory(instance, samples, measured)

    monkeypatch.setattr(module, "estimate_memory", estimated)
    side = open_side()
    first = side.memory_estimate(1)
    assert side.memory_estimate() is first and side.memory_estimate(1) is first
    assert side.memory_estimate(2) is not first
    assert asked == [1, 2]
    assert side.affordable_reach_samples(0.0) >= module._LEAST_REACH_SAMPLES
    assert side.affordable_reach_samples(10.0) > side.affordable_reach_samples(1.0)


def test_the_best_that_fits_and_the_smallest_are_kept() -> None:
    side = open_side()
    instance = side.instance
    mask = {o.layer: o for c in instance.choices for o in c.options[-1:] if o is not None}
    table = side.table(mask)
    found = place(table, needed_schedule(table, fastest_ways(table)), None, 0.0)

    def of(time_ns: int, arena_bytes: int) -> Solution:
        return replace(found, worth=replace(found.worth, time_ns=time_ns, arena_bytes=arena_bytes))

    pursuit = Pursuit(instance.request, Techniques(), Reporter(None), 10.0, WorkClock(), [side])
    slow, fast, large = of(9, 500), of(5, 600), of(1, BUDGET + 1)
    assert fits(slow) and not fits(large)
    assert pursuit.offer(slow) and pursuit.offer(fast)
    assert not pursuit.offer(slow) and not pursuit.offer(large)
    assert pursuit.best is fast and pursuit.smallest is slow
    assert [pursuit.next_seed() for _ in range(3)] == [0, 1, 2]
