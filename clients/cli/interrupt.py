"""Ctrl-C while native code runs.

Python handles a signal only between two of its own instructions in the main thread, and a
solver may stay in native code for minutes.  So the work runs in a thread of its own, and the
main thread waits where it can be interrupted.

The first Ctrl-C asks the work to stop and give what it has; the second one gives up.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

__all__ = ["run_interruptible"]

T = TypeVar("T")
Stop = Callable[[], bool]
_POLL_SECONDS = 0.1


def run_interruptible(work: Callable[[Stop], T], stopping: Callable[[], None]) -> T:
    """Return what ``work`` returns, or raise what it raises.

    Args:
        work: is given a function that returns true once it should stop.
        stopping: called at the first Ctrl-C.

    Raises:
        KeyboardInterrupt: at the second Ctrl-C.  The thread is left running: the caller must end
            the process without waiting for it.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        return work(stop.is_set)  # signals are the main thread's business
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop.is_set))
        except BaseException as failure:  # carried to the main thread, where it is raised
            failures.append(failure)

    def interrupted(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        stopping()

    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:  # as nohup and scripts' background jobs have it
        signal.signal(signal.SIGINT, interrupted)
    try:
        thread = threading.Thread(target=run, name="memplan-solve", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
    finally:
        signal.signal(signal.SIGINT, before)
    if failures:
        raise failures[0]
    return results[0]
