"""Whole solutions of the retention program, with a cut where the last one exceeds the limit most.

With one block the program is quick but knows little of what happens within it.  Its solution is
written out as a schedule (``rounding``); at the step that exceeds the limit most the block is cut,
and the program is solved again, at first near the last solution only.  A few cuts at the right
places are worth more than many even ones, and a program with few is solved in a second.  A schedule
that fits and costs no more than is proved ends it: along the line nothing is cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memplan.solver.clock import Clock
from memplan.solver.relaxation.linear import TOLERANCE
from memplan.solver.relaxation.retention import Retention, retention
from memplan.solver.relaxation.rounding import Rounded, rounded, unchanged
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["Refinement"]

#: Of the time that is left, what looking near the last solution may take.
_REPAIR_SHARE = 0.2


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

    @property
    def is_met(self) -> bool:
        """Tell whether a schedule that fits costs no more than is proved, but for tolerances."""
        fitting = (one for one in self.schedules if not one.exceeding)
        return any(self._is_proved(one.extra_ns) for one in fitting)

    def advance(self, target_ns: int, until: float, clock: Clock) -> None:
        """Go on until the bound is ``target_ns``, or it is met, or time is over."""
        self._cuts = self._cuts or (self.line.forward,)
        while not self.is_over and self.extra_ns < target_ns and not clock.over(until):
            if not self._step(until, clock):
                break

    def _step(self, until: float, clock: Clock) -> bool:
        """Solve one program; tell whether that ended, or else time is better spent elsewhere."""
        program = retention(self.line, self.limit_bytes, self._cuts, exchanges=self.exchanges)
        if self._before is not None:
            # The last solution, changed only where it exceeded the limit, may do already.
            seconds = _REPAIR_SHARE * (until - clock.now())
            near = program.program.whole(seconds, clock, unchanged(program, *self._before))
            self._before = None
            schedule = self._take(program, near.values)
            if self.is_over or clock.over(until):
                return True
            if near.values is not None and self._is_proved(program.program.cost(near.values)):
                # It costs what is proved already: with these cuts nothing more can be.
                self._cut(program, near.values, schedule)
                return True
        found = program.program.whole(until - clock.now(), clock)
        self.extra_ns = max(self.extra_ns, found.bound)
        schedule = self._take(program, found.values)
        if found.values is not None and not self._is_proved(program.program.cost(found.values)):
            return False
        self._cut(program, found.values, schedule)
        return True

    def _is_proved(self, extra_ns: int) -> bool:
        """Tell whether this is the least, but for the tolerances of solvers."""
        return extra_ns <= self.extra_ns + int(2 * TOLERANCE * self.extra_ns)

    def _cut(
        self, program: Retention, values: Sequence[float] | None, schedule: Rounded | None
    ) -> None:
        """Add a cut where the schedule exceeds the limit most: right behind the step, or before."""
        cut = None
        if values is not None and schedule is not None:
            self._before = program, values
            within = range(self.line.forward + 1, len(self.line.reads))
            choices = (x for place in schedule.exceeding for x in (place + 1, place) if x in within)
            cut = next((place for place in choices if place not in self._cuts), None)
        if cut is None:
            self.is_over = True
        else:
            self._cuts = sorted((*self._cuts, cut))

    def _take(self, program: Retention, values: Sequence[float] | None) -> Rounded | None:
        if values is None:
            return None
        schedule = rounded(self.line, self.limit_bytes, program, values)
        self.schedules.append(schedule)
        self.is_over = self.is_over or self.is_met
        return schedule
