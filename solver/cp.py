"""Running CP-SAT: one place for its parameters, and for stopping it from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ortools.sat.python import cp_model

__all__ = ["never", "solve_model"]

_POLL_SECONDS = 0.1


def never() -> bool:
    """Do not stop: the default of every ``stop``."""
    return False


def solve_model(
    model: cp_model.CpModel,
    seconds: float,
    seed: int,
    workers: int,
    stop: Callable[[], bool] = never,
    *,
    lns_only: bool = False,
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve ``model`` within ``seconds``; ``stop`` is polled ten times a second."""
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.max_time_in_seconds = max(0.0, seconds)
    parameters.random_seed = seed
    parameters.num_workers = workers
    parameters.use_lns_only = lns_only
    parameters.use_area_energetic_reasoning_in_no_overlap_2d = True
    # Its own handler aborts the process where the solve runs outside the main thread.
    parameters.catch_sigint_signal = False
    with _watched(solver, stop):
        return solver, solver.solve(model)


@contextmanager
def _watched(solver: cp_model.CpSolver, stop: Callable[[], bool]) -> Iterator[None]:
    """Pass a stop on to a running solver."""
    if stop is never:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            if stop():
                solver.stop_search()

    watcher = threading.Thread(target=watch, name="memplan-stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
