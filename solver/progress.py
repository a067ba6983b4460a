"""What the search tells while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Progress", "Reporter"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of the search at one moment."""

    stage: str
    elapsed_seconds: float
    #: Of the best plan so far that fits; null if there is none yet.
    arena_bytes: int | None = None
    time_ns: int | None = None
    importance: int | None = None
    lower_bound_bytes: int | None = None
    #: Relative distance on the level that is being improved.
    gap: float | None = None


@dataclass
class Reporter:
    """Passes progress on, at most five times a second and at every change of stage."""

    callback: Callable[[Progress], None] | None
    started: float = field(default_factory=time.monotonic)
    _last: float = -1.0
    _stage: str = ""

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self.started

    def tell(
        self,
        stage: str,
        *,
        arena_bytes: int | None = None,
        time_ns: int | None = None,
        importance: int | None = None,
        lower_bound_bytes: int | None = None,
        gap: float | None = None,
    ) -> None:
        """Report the state of the search."""
        now = self.elapsed_seconds
        if self.callback is None or (stage == self._stage and now - self._last < 0.2):
            return
        self._stage, self._last = stage, now
        self.callback(
            Progress(stage, now, arena_bytes, time_ns, importance, lower_bound_bytes, gap)
        )
