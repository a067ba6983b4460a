"""Whole solutions of the retention program, with cuts where the last one exceeds the limit.

With few blocks the program is quick but knows little of what happens within one.  Its solution is
written out as a schedule (``rounding``); around the steps that exceed the limit the blocks are cut,
and the program is solved again, at first near the last solution only.  A schedule that fits and
costs no more than is proved ends it: along the line nothing is cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memplan.solver.clock import Clock
from memplan.solver.relaxation.retention import Retention, even_cuts, retention
from memplan.solver.relaxation.rounding import Rounded, rounded, unchanged
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["Refinement"]

_FIRST_BLOCKS = 8
#: Of the time that is left, what looking near the last solution may take.
_REPAIR_SHARE = 0.2
#: A program that was broken off so often for want of time is given up.
_MOST_BREAKS = 2


@dataclass
class Refinement:
    """The state of the refinement; ``advance`` goes on where it was left.

    Attributes:
        line: first computations, in order.
        limit_bytes: what the body's items may take.
        exchanges: whether the programs leave out what can be exchanged.
        extra_ns: proved of all schedules along the line.
        schedules: what solutions say, the latest last; bytes may exceed the limit.
        is_over: nothing is left to try.
    """

    line: Timeline
    limit_bytes: int
    exchanges: bool = True
    extra_ns: int = 0
    schedules: list[Rounded] = field(default_factory=list)
    is_over: bool = False
    _cuts: Sequence[int] = ()
    _before: tuple[Retention, Sequence[float]] | None = None
    _breaks: int = 0

    @property
    def is_met(self) -> bool:
        """Tell whether a schedule that fits costs no more than is proved."""
        return any(not one.exceeding and one.extra_ns <= self.extra_ns for one in self.schedules)

    def advance(self, target_ns: int, until: float, clock: Clock) -> None:
        """Go on until the bound is ``target_ns``, or it is met, or time is over."""
        self._cuts = self._cuts or even_cuts(self.line, _FIRST_BLOCKS)
        while not self.is_over and self.extra_ns < target_ns and not clock.over(until):
            self._step(until, clock)

    def _step(self, until: float, clock: Clock) -> None:
        program = retention(self.line, self.limit_bytes, self._cuts, exchanges=self.exchanges)
        if self._before is not None:
            # The last solution, changed only where it exceeded the limit, may do already.
            seconds = _REPAIR_SHARE * (until - clock.now())
            near = program.program.whole(seconds, clock, unchanged(program, *self._before))
            self._take(program, near.values)
            if self.is_over or clock.over(until):
                return
        found = program.program.whole(until - clock.now(), clock)
        self.extra_ns = max(self.extra_ns, found.bound)
        schedule = self._take(program, found.values)
        if clock.over(until):
            self._breaks += 1
            self.is_over = self.is_over or self._breaks >= _MOST_BREAKS
            return
        if found.values is None or schedule is None:
            self.is_over = True
            return
        self._before = program, found.values
        finer = {*self._cuts, *schedule.exceeding, *(place + 1 for place in schedule.exceeding)}
        finer = {place for place in finer if place < len(self.line.reads)}
        self.is_over = self.is_over or len(finer) == len(self._cuts)
        self._cuts = sorted(finer)

    def _take(self, program: Retention, values: Sequence[float] | None) -> Rounded | None:
        if values is None:
            return None
        schedule = rounded(self.line, self.limit_bytes, program, values)
        self.schedules.append(schedule)
        self.is_over = self.is_over or self.is_met
        return schedule
