"""Schedules as they are found for one mask and one micro-batch, and the two searches that add to
them: greedy runs and annealing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memplan.solver.clock import Clock
from memplan.solver.local_search import anneal
from memplan.solver.schedule import Schedule, Table, live_peak
from memplan.solver.scheduling.priorities import climb

__all__ = ["Found", "Gathering"]

Steps = tuple[tuple[int, int], ...]


@dataclass
class Found:
    """Schedules that were found: those that fit, and the one of least peak."""

    #: (time_ns of one trip, live peak, schedule), best first, at most a handful.
    fitting: list[tuple[int, int, Steps]] = field(default_factory=list)
    least_peak: int | None = None
    least: Steps = ()

    def add(self, table: Table, schedule: Schedule, limit: int) -> int | None:
        """Record a schedule if it is valid and within the compute limit; return its peak."""
        peak = live_peak(table, schedule)
        if peak is None or not table.within_compute(schedule):
            return None
        steps = tuple(schedule)
        if self.least_peak is None or peak < self.least_peak:
            self.least_peak, self.least = peak, steps
        if peak <= limit and all(steps != known for _, _, known in self.fitting):
            self.fitting.append((table.trip_time_ns(steps), peak, steps))
            self.fitting.sort(key=lambda entry: entry[:2])
            del self.fitting[8:]
        return peak


@dataclass
class Gathering:
    """What is found at one limit, and the schedules that annealing may begin with."""

    table: Table
    limit_bytes: int
    seed: int
    clock: Clock
    found: Found = field(default_factory=Found)
    #: Schedules with what they exceed the limit by, and their time.
    starts: dict[Steps, tuple[int, int]] = field(default_factory=dict)

    def add(self, steps: Steps) -> None:
        """Record a schedule, and let annealing begin with it."""
        peak = self.found.add(self.table, steps, self.limit_bytes)
        if peak is not None:
            self.starts[steps] = (max(0, peak - self.limit_bytes), self.table.trip_time_ns(steps))

    @property
    def nearest(self) -> Steps:
        """The start that exceeds the limit least; of those that do not, the fastest."""
        return min(self.starts, key=lambda steps: self.starts[steps])

    def climb(self, orders: Sequence[Steps], until: float, *, kinds: bool) -> None:
        """Greedy runs along some orders."""
        self.starts |= climb(
            self.table,
            orders,
            self.limit_bytes,
            until,
            self.seed,
            self._record,
            self.clock,
            workers=self.table.instance.request.workers,
            kinds=kinds,
        )

    def anneal(self, until: float) -> None:
        """Anneal from the nearest start."""
        best, _ = anneal(
            self.table,
            self.nearest,
            self.limit_bytes,
            until,
            self.seed,
            lambda steps, _: self._record(steps),
            self.clock,
            workers=self.table.instance.request.workers,
        )
        self._record(best)

    def _record(self, steps: Schedule) -> None:
        self.found.add(self.table, steps, self.limit_bytes)
