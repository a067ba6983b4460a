"""Running CP-SAT: one place for its parameters, and for stopping it from outside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock, never

__all__ = ["solve_model"]

_POLL_SECONDS = 0.1


def solve_model(
    model: cp_model.CpModel,
    seconds: float,
    seed: int,
    workers: int,
    clock: Clock = WALL,
    *,
    lns_only: bool = False,
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve ``model`` within ``seconds``; the clock's ``stop`` is polled ten times a second."""
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.random_seed = seed
    parameters.num_workers = workers
    parameters.use_lns_only = lns_only
    parameters.use_area_energetic_reasoning_in_no_overlap_2d = True
    # Its own handler aborts the process where the solve runs outside the main thread.
    parameters.catch_sigint_signal = False
    clock.limit(solver, seconds)
    status = solver.solve(model) if clock.stop is never else _solve_watched(solver, model, clock)
    clock.charge(solver)
    return solver, status


def _solve_watched(
    solver: cp_model.CpSolver, model: cp_model.CpModel, clock: Clock
) -> cp_model.CpSolverStatus:
    """Solve in a thread, so that this one keeps running Python: signal handlers, and ``stop``."""
    with ThreadPoolExecutor(1, thread_name_prefix="memplan-solve") as executor:
        solving = executor.submit(solver.solve, model)
        while True:
            try:
                return solving.result(timeout=_POLL_SECONDS)
            except TimeoutError:
                if clock.stop():
                    solver.stop_search()
