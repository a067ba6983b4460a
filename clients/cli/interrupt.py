"""Ctrl-C while native code runs.

Python handles a signal only between two of its own instructions in the main thread, and a
solver may stay in native code for minutes.  So the work runs in a thread of its own, and the
main thread waits where it can be interrupted.

CP-SAT installs a handler of its own for SIGINT, which must not run.  So the signal is blocked in
all threads meanwhile, and the main thread takes it out of the queue.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["run_interruptible"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


def run_interruptible(work: Callable[[], T]) -> T:
    """Return what ``work`` returns, or raise what it raises.

    On KeyboardInterrupt the thread is left running: the caller must end the process without
    waiting for it.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()  # signals are the main thread's business
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as failure:  # carried to the main thread, where it is raised
            failures.append(failure)

    handler = signal.getsignal(signal.SIGINT)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread = threading.Thread(target=run, name="memplan-solve", daemon=True)
        thread.start()  # inherits the mask, as do the threads that it starts
        while thread.is_alive():
            if signal.sigtimedwait({signal.SIGINT}, 0) is not None:
                raise KeyboardInterrupt
            thread.join(_POLL_SECONDS)
    finally:
        signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if failures:
        raise failures[0]
    return results[0]
