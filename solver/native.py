"""Native code that takes long, run so that this thread goes on: signals, ``stop``, progress."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from memplan.solver.clock import Clock

__all__ = ["ABANDONED", "run_watched"]

T = TypeVar("T")

#: Name of threads that nobody waits for any more: they end with their time limit, or the process.
ABANDONED = "memplan-abandoned"
_POLL_SECONDS = 0.1
#: Beyond its own limit, what a solver may take before it is abandoned: presolve and the root's
#: relaxation look at the clock seldom.
_GRACE_SECONDS, _GRACE_SHARE = 0.5, 0.05


def run_watched(
    work: Callable[[], T],
    clock: Clock,
    stop_work: Callable[[], object] | None,
    watch: Callable[[], object] | None = None,
    seconds: float | None = None,
) -> T | None:
    """Return what ``work`` returns, or raise what it raises; poll the clock meanwhile.

    Args:
        work: must release the interpreter's lock.
        stop_work: makes it return soon, once a stop was asked for.  None: nothing does; it is
            abandoned then, and None is returned.
        watch: called ten times a second, and at the end.
        seconds: the limit that ``work`` was given, by the wall.  If it takes much longer it is
            abandoned, too.
    """
    if not clock.is_watched and watch is None and seconds is None:
        return work()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # carried to the caller, where it is raised
            failures.append(failure)

    thread = threading.Thread(target=run, name="memplan-solve", daemon=True)
    began = time.monotonic()
    limit = None if seconds is None else seconds * (1 + _GRACE_SHARE) + _GRACE_SECONDS
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if limit is not None and thread.is_alive() and time.monotonic() - began > limit:
            _abandon(thread)
            return None
        if watch is not None:
            watch()
        if clock.stop():
            if stop_work is None:
                _abandon(thread)
                return None
            stop_work()
    if failures:
        raise failures[0]
    if watch is not None:
        watch()
    return results[0]


def _abandon(thread: threading.Thread) -> None:
    """Wait for a thread no more but at the interpreter's end, which it must not be running in."""
    thread.name = ABANDONED
    atexit.register(thread.join)
