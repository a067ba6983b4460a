"""Ctrl-C while native code runs.

Python handles a signal only between two of its own instructions in the main thread, and a
solver may stay in native code for minutes.  So the work runs in a thread of its own, and the
main thread waits where it can be interrupted.

The first Ctrl-C asks the work to stop and give what it has; the second one gives up.  No handler
may run meanwhile, neither Python's nor one of a library: the signal is blocked in all threads,
and the main thread takes it out of the queue.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
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

    handler = signal.getsignal(signal.SIGINT)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread = threading.Thread(target=run, name="memplan-solve", daemon=True)
        thread.start()  # inherits the mask, as do the threads that it starts
        while thread.is_alive():
            if signal.sigtimedwait({signal.SIGINT}, 0) is not None:
                if stop.is_set():
                    raise KeyboardInterrupt
                stop.set()
                stopping()
            thread.join(_POLL_SECONDS)
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if failures:
        raise failures[0]
    return results[0]
