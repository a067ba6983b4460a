"""Annealing over schedules: every set of recomputations is a schedule, only its peak can be wrong.

Moves: drop a computation, insert one (with the producers whose results are gone) before a step
that reads its result late, shift a step.  Cost: time, plus a price for every byte-step above
the limit, which rises while the schedule does not fit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from memplan.solver.clock import WALL, Clock
from memplan.solver.schedule import Schedule, Table, live_profile
from memplan.solver.ways import without_unread

__all__ = ["anneal"]

Steps = list[tuple[int, int]]

#: What a move and its measurement take, per step of the schedule; measured.
_SECONDS_PER_STEP = 3e-6


def anneal(
    table: Table,
    start: Schedule,
    limit_bytes: int,
    until: float,
    seed: int,
    on_better: Callable[[Steps, int], None],
    clock: Clock = WALL,
) -> tuple[Steps, int]:
    """Improve a schedule until the clock reaches ``until``.

    Args:
        on_better: called with (schedule, time_ns) at each schedule that fits and is faster than
            those before.

    Returns:
        The schedule of least overflow, then least time, and its overflow in byte-steps.
    """
    run = _Annealing(table, limit_bytes, seed, clock)
    return run.run(list(start), until, on_better)


class _Annealing:
    def __init__(self, table: Table, limit_bytes: int, seed: int, clock: Clock) -> None:
        self.table, self.limit, self.clock = table, limit_bytes, clock
        self.chance = random.Random(seed)
        works = table.instance.works
        self.recomputable = [work.recomputable for work in works]

    def _measure(self, schedule: Steps) -> tuple[int, int] | None:
        """Return (overflow in byte-steps, time_ns), or None for an invalid schedule."""
        profile = live_profile(self.table, schedule)
        if profile is None:
            return None
        limit = self.limit
        overflow = sum(live - limit for live in profile if live > limit)
        times = self.table.time_ns
        return overflow, sum(times[work][way] for work, way in schedule)

    def run(
        self,
        current: Steps,
        until: float,
        on_better: Callable[[Steps, int], None],
    ) -> tuple[Steps, int]:
        measured = self._measure(current)
        if measured is None:
            return current, 1 << 62
        overflow, spent = measured
        best, best_key = current, (overflow, spent)
        # A byte-step above the limit costs as much as it would at the average density.
        price = spent / max(1, self.limit * len(current)) * 20
        temperature = spent * 0.003
        rounds = 0
        while not self.clock.over(until):
            rounds += 1
            self.clock.spend(_SECONDS_PER_STEP * len(current))
            if rounds % 400 == 0:
                temperature *= 0.9
                if temperature < spent * 1e-5:
                    temperature = spent * 0.003
                    current, (overflow, spent) = best, best_key
                if overflow:
                    price *= 1.3
            trial = self._move(current)
            if trial is None:
                continue
            measured = self._measure(trial)
            if measured is None:
                continue
            change = measured[1] - spent + price * (measured[0] - overflow)
            if change > 0 and self.chance.random() >= math.exp(-change / max(temperature, 1e-9)):
                continue
            current, (overflow, spent) = trial, measured
            if measured < best_key:
                best, best_key = trial, measured
                if not overflow:
                    on_better(trial, spent)
        return best, best_key[0]

    def _move(self, schedule: Steps) -> Steps | None:
        kind = self.chance.random()
        if kind < 0.35:
            return self._insert(schedule)
        if kind < 0.65:
            return self._drop(schedule)
        return self._shift(schedule)

    def _drop(self, schedule: Steps) -> Steps | None:
        seen: dict[int, int] = {}
        again = []
        for step, (work, _) in enumerate(schedule):
            if work in seen:
                again.append(step)
                if self.chance.random() < 0.2:
                    again.append(seen[work])
            seen[work] = step
        if not again:
            return None
        gone = self.chance.choice(again)
        return without_unread(self.table, schedule[:gone] + schedule[gone + 1 :])

    def _insert(self, schedule: Steps) -> Steps | None:
        """Recompute an operand of some step right before it."""
        table = self.table
        step = self.chance.randrange(len(schedule))
        work, way = schedule[step]
        candidates = [
            item
            for item in table.reads[work][way]
            if item in table.producer and self.recomputable[table.producer[item]]
        ]
        if not candidates:
            return None
        producer = table.producer[self.chance.choice(candidates)]
        ways = dict(schedule)
        if producer not in ways:
            return None
        again = [producer]
        # With some chance also its producers, so that a whole chain moves.
        while self.chance.random() < 0.5:
            before = [
                table.producer[item]
                for item in table.reads[again[-1]][ways[again[-1]]]
                if item in table.producer
                and self.recomputable[table.producer[item]]
                and table.producer[item] in ways
            ]
            if not before:
                break
            again.append(self.chance.choice(before))
        inserted = [(v, ways[v]) for v in sorted(set(again))]
        return without_unread(table, schedule[:step] + inserted + schedule[step:])

    def _shift(self, schedule: Steps) -> Steps | None:
        """Move a step: by some places, or to where its operands or readers stop it."""
        step = self.chance.randrange(len(schedule))
        kind = self.chance.random()
        if kind < 0.25:
            target = self._before_first_reader(schedule, step)
        elif kind < 0.4:
            target = self._after_last_operand(schedule, step)
        else:
            distance = int(self.chance.expovariate(1 / 6)) + 1
            target = step + (distance if self.chance.random() < 0.5 else -distance)
        target = min(max(0, target), len(schedule) - 1)
        if target == step:
            return None
        moved = schedule[step]
        rest = schedule[:step] + schedule[step + 1 :]
        return [*rest[:target], moved, *rest[target:]]

    def _before_first_reader(self, schedule: Steps, step: int) -> int:
        written = set(self.table.writes[schedule[step][0]])
        for later in range(step + 1, len(schedule)):
            work, way = schedule[later]
            if not written.isdisjoint(self.table.reads[work][way]):
                return later - 1
        return step

    def _after_last_operand(self, schedule: Steps, step: int) -> int:
        work, way = schedule[step]
        read = set(self.table.reads[work][way])
        for earlier in range(step - 1, -1, -1):
            if not read.isdisjoint(self.table.writes[schedule[earlier][0]]):
                return earlier + 1
        return step
