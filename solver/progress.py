"""What the search tells while it runs: incumbent, bound and gap of the level that it improves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LevelName", "Progress", "Reporter"]

LevelName = Literal["importance", "time_ns", "arena_bytes"]

#: At most so many reports in any second.
_MOST_PER_SECOND = 5
#: Between reports without news: fewer than may be, so that news need not wait.
_QUIET_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of the search at one moment."""

    stage: str
    elapsed_seconds: float
    #: Of the best plan so far that fits; null if there is none yet.
    arena_bytes: int | None = None
    time_ns: int | None = None
    importance: int | None = None
    #: Proven: no plan that the request allows needs fewer bytes.
    lower_bound_bytes: int | None = None
    #: The first level of the objective that is not known to be at its best; null without a plan.
    level: LevelName | None = None
    #: Proven of this level, under the restrictions that the certificate will list; null: nothing.
    bound: int | None = None
    #: |value - bound| / max(1, |value|) of this level; null without a bound.
    gap: float | None = None

    @property
    def value(self) -> int | None:
        """The best plan's value on the level that is being improved."""
        return None if self.level is None else int(getattr(self, self.level))


@dataclass
class Reporter:
    """Passes progress on: at most five reports in any second, all from the thread that made it.

    What is asked for more often is not made at all; the state is that of the moment it is told.
    """

    callback: Callable[[Progress], None] | None
    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    _told: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_PER_SECOND))
    _thread: int = field(default_factory=threading.get_ident)
    _stage: str = ""

    def __post_init__(self) -> None:
        self.started = self.now()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since the search began."""
        return self.now() - self.started

    def tell(self, stage: str, report: Callable[[float], Progress], news: bool = False) -> None:
        """Pass on what ``report`` makes of the seconds since the start, if it is time for it.

        Args:
            news: there is more to tell than that time goes by; a new stage always is.
        """
        if self.callback is None or threading.get_ident() != self._thread:
            return
        moment = self.now()
        told = self._told
        if len(told) == _MOST_PER_SECOND and moment - told[0] < 1.0:
            return
        news = news or stage != self._stage
        if told and not news and moment - told[-1] < _QUIET_SECONDS:
            return
        self._stage = stage
        told.append(moment)
        self.callback(report(moment - self.started))
