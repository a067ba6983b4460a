"""Native code that takes long, run so that this thread goes on: signals, ``stop``, progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from memplan.solver.clock import Clock

__all__ = ["ABANDONED", "run_watched"]

T = TypeVar("T")

#: Name of threads that nobody waits for any more: they end with their time limit, or the process.
ABANDONED = "memplan-abandoned"
_POLL_SECONDS = 0.1


def run_watched(
    work: Callable[[], T],
    clock: Clock,
    stop_work: Callable[[], object] | None,
    watch: Callable[[], object] | None = None,
) -> T | None:
    """Return what ``work`` returns, or raise what it raises; poll the clock meanwhile.

    Args:
        work: must release the interpreter's lock.
        stop_work: makes it return soon, once a stop was asked for.  None: nothing does; it is
            abandoned then, and None is returned.
        watch: called ten times a second, and at the end.
    """
    if not clock.is_watched and watch is None:
        return work()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # carried to the caller, where it is raised
            failures.append(failure)

    thread = threading.Thread(target=run, name="memplan-solve", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        if watch is not None:
            watch()
        if clock.stop():
            if stop_work is None:
                thread.name = ABANDONED
                return None
            stop_work()
    if failures:
        raise failures[0]
    if watch is not None:
        watch()
    return results[0]
