"""How the search counts its time: by the wall, or by the work that it does.

By the wall a faster machine finds better plans, and two runs may differ.  By work done, the same
input, seed and number of workers give the same plan, on any load of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ortools.sat.python import cp_model

__all__ = ["WALL", "Clock", "WorkClock", "never"]

#: What a unit of CP-SAT's deterministic time takes on joint models, workers in lockstep; measured.
_SECONDS_PER_UNIT = 3.0


def never() -> bool:
    """Do not stop: the default of every ``stop``."""
    return False


class Clock:
    """The wall clock, and whether somebody asked to stop."""

    def __init__(self, stop: Callable[[], bool] = never) -> None:
        self._asked = stop
        #: Called whenever somebody asks whether to stop: how every stage reports that it goes on.
        self.pulse: Callable[[], None] | None = None

    def stop(self) -> bool:
        """Tell whether somebody asked to stop, which ends every stage of the search; polled."""
        if self.pulse is not None:
            self.pulse()
        return self._asked()

    @property
    def is_watched(self) -> bool:
        """Tell whether anything may happen when this clock is polled."""
        return self._asked is not never or self.pulse is not None

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.monotonic()

    def over(self, until: float) -> bool:
        """Tell whether ``until`` (in seconds of ``now``) has come, or a stop was asked for."""
        return self.now() >= until or self.stop()

    def spend(self, seconds: float) -> None:
        """Count work that takes about ``seconds``; the wall clock counts by itself."""

    def limit(self, solver: cp_model.CpSolver, seconds: float) -> None:
        """Give a CP-SAT solver ``seconds`` of this clock."""
        solver.parameters.max_time_in_seconds = max(0.0, seconds)

    def charge(self, solver: cp_model.CpSolver) -> None:
        """Count what a CP-SAT solver has used."""


class WorkClock(Clock):
    """Counts work done; a second of it is about a second of one core in 2024."""

    def __init__(self, stop: Callable[[], bool] = never) -> None:
        super().__init__(stop)
        self.spent = 0.0

    def now(self) -> float:
        """Return the seconds of work that were counted."""
        return self.spent

    def spend(self, seconds: float) -> None:
        """Count ``seconds`` of work."""
        self.spent += seconds

    def limit(self, solver: cp_model.CpSolver, seconds: float) -> None:
        """Limit a CP-SAT solver by its own deterministic time, workers in lockstep."""
        solver.parameters.max_deterministic_time = max(0.0, seconds) / _SECONDS_PER_UNIT
        solver.parameters.interleave_search = solver.parameters.num_workers > 1

    def charge(self, solver: cp_model.CpSolver) -> None:
        """Count the deterministic time that a CP-SAT solver has used."""
        self.spent += _SECONDS_PER_UNIT * solver.response_proto.deterministic_time


#: The wall clock that nobody stops.
WALL = Clock()
