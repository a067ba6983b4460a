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
#: Where to cut is known before a program is solved to the end: the last part takes the longest.
_FIRST_GAP = 1e-3


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
    _gap: float = _FIRST_GAP

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
            fixed = unchanged(program, *self._before)
            near = program.program.whole(seconds, clock, fixed, self._gap)
            self._before = None
            schedule = self._take(program, near.values)
            if self.is_over or clock.over(until):
                return True
            if (
                near.values is not None
                and schedule is not None
                and self._is_done(program, near.values, schedule)
            ):
                # It costs what is proved already: with these cuts nothing more can be.
                self._cut(program, near.values, schedule)
                return True
        seconds, began = until - clock.now(), clock.now()
        found = program.program.whole(seconds, clock, relative_gap=self._gap)
        self.extra_ns = max(self.extra_ns, found.bound)
        schedule = self._take(program, found.values)
        if found.values is None or schedule is None:
            # Either there is no solution, or none was found in time.
            self.is_over = self.is_over or clock.now() < began + 0.5 * seconds
            return False
        if self._is_done(program, found.values, schedule):
            self._cut(program, found.values, schedule)
            return True
        if schedule.exceeding or not self._gap:
            return False
        self._gap = 0.0  # it fits, and may be the best: once more, to the end
        return True

    def _is_done(self, program: Retention, values: Sequence[float], schedule: Rounded) -> bool:
        """Tell whether a solution is as good as can be with these cuts, or near enough to it."""
        cost = program.program.cost(values)
        gap = self._gap if schedule.exceeding else 0.0
        return self._is_proved(cost - int(gap * cost))

    def _is_proved(self, extra_ns: int) -> bool:
        """Tell whether this is the least, but for the tolerances of solvers."""
        return extra_ns <= self.extra_ns + int(2 * TOLERANCE * self.extra_ns)

    def _cut(self, program: Retention, values: Sequence[float], schedule: Rounded) -> None:
        """Add a cut where the schedule exceeds the limit most: right behind the step, or before."""
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
