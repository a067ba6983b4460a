from __future__ import annotations

import pytest

import memplan.solver.attempts as attempts
from memplan.solver.attempts import is_poor, try_mask
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import WorkClock
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.schedule import Table
from memplan.solver.scheduling.found import Found
from memplan.solver.scheduling.ways import fastest_ways, needed_schedule
from memplan.solver.solution import place
from memplan.solver.techniques import Techniques
from tests.solver.problems import instance_of
from tests.support.hand_graphs import chain

BUDGET = 10_000
#: By so many bytes every packing exceeds the room, until it is told to fit.
OVERSHOOT = 100


class Rounds:
    """A search of which each round takes so long, and a packing that fits from some round on."""

    def __init__(self, seconds_each: float, fits_at: int, time_limit: float) -> None:
        self.seconds_each, self.fits_at = seconds_each, fits_at
        self.limits: list[int] = []
        instance = instance_of(chain(), BUDGET)
        self.side = Side(instance.samples, instance, lower_bound(instance))
        self.mask = instance.mask()
        self.table = self.side.table(self.mask)
        self.room = instance.room_bytes
        self.steps = tuple(needed_schedule(self.table, fastest_ways(self.table)))
        self.clock = WorkClock()
        self.pursuit = Pursuit(
            instance.request, Techniques(), Reporter(None), time_limit, self.clock, [self.side]
        )

    def find(self, table: Table, limit: int, *rest: object) -> Found:
        self.clock.spend(self.seconds_each)
        self.limits.append(limit)
        found = Found()
        found.add(table, self.steps, limit)
        return found

    def pack(self, pursuit: Pursuit, table: Table, found: Found, seconds: float) -> int:
        if len(self.limits) < self.fits_at:
            return OVERSHOOT
        pursuit.offer(place(table, self.steps, None, 0.0))
        return 0

    def lowered(self) -> list[int]:
        return [self.room - limit for limit in self.limits]


def rounds(
    monkeypatch: pytest.MonkeyPatch, seconds_each: float, fits_at: int, time_limit: float = 100.0
) -> Rounds:
    made = Rounds(seconds_each, fits_at, time_limit)
    monkeypatch.setattr(attempts, "find_schedules", made.find)
    monkeypatch.setattr(attempts, "pack_found", made.pack)
    return made


def test_a_limit_is_lowered_by_a_little_more_than_packing_overshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rounds(monkeypatch, 1.0, fits_at=3)
    assert try_mask(made.pursuit, made.side, made.mask, 50.0)
    assert made.lowered() == pytest.approx([0, 1.1 * OVERSHOOT, 2.2 * OVERSHOOT], abs=2)
    assert not is_poor(made.pursuit.best, made.side, made.mask)


def test_in_vain_it_goes_on_from_there_until_something_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rounds(monkeypatch, 1.0, fits_at=6)
    assert not try_mask(made.pursuit, made.side, made.mask, 50.0)
    assert try_mask(made.pursuit, made.side, made.mask, 50.0)
    assert made.lowered()[4:] == pytest.approx([4.4 * OVERSHOOT, 5.5 * OVERSHOOT], abs=5)
    # With a plan the whole room is searched again.
    assert try_mask(made.pursuit, made.side, made.mask, 50.0)
    assert made.lowered()[6] == 0


def test_in_a_hurry_a_limit_is_lowered_by_more_and_then_by_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rounds(monkeypatch, 1.0, fits_at=2, time_limit=3.5)
    assert try_mask(made.pursuit, made.side, made.mask, 3.0)
    assert made.lowered() == pytest.approx([0, 1.6 * OVERSHOOT], abs=1)
    # Such a plan is to be improved, with more live bytes.
    assert is_poor(made.pursuit.best, made.side, made.mask)
    assert try_mask(made.pursuit, made.side, made.mask, 1.5)
    assert made.lowered()[2] == pytest.approx(0.6 * 1.6 * OVERSHOOT, abs=2)


def test_a_plan_is_poor_where_a_faster_schedule_was_found() -> None:
    instance = instance_of(chain(), BUDGET)
    side, mask = Side(instance.samples, instance, lower_bound(instance)), instance.mask()
    assert is_poor(None, side, mask)
    table = side.table(mask)
    steps = tuple(needed_schedule(table, fastest_ways(table)))
    slow = place(table, steps[:2] + steps, None, 0.0)
    assert table.trip_time_ns(slow.schedule) > 1.05 * table.trip_time_ns(steps)
    assert not is_poor(slow, side, mask)  # nothing else is known
    side.known(mask).append(())  # what a search leaves that found nothing valid
    assert not is_poor(slow, side, mask)
    side.known(mask).append(steps)
    assert is_poor(slow, side, mask)
    assert not is_poor(place(table, steps, None, 0.0), side, mask)
