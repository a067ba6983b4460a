"""Running CP-SAT: one place for its parameters, and for stopping it from outside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock
from memplan.solver.native import run_watched

__all__ = ["solve_model"]


def solve_model(
    model: cp_model.CpModel,
    seconds: float,
    seed: int,
    workers: int,
    clock: Clock = WALL,
    *,
    lns_only: bool = False,
    watch: Callable[[int | None, int | None], object] | None = None,
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve ``model`` within ``seconds``; the clock's ``stop`` is polled ten times a second.

    Args:
        watch: called as often, with the best objective and the bound so far; None: none yet.
    """
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.random_seed = seed
    parameters.num_workers = workers
    parameters.use_lns_only = lns_only
    parameters.use_area_energetic_reasoning_in_no_overlap_2d = True
    # Its own handler aborts the process where the solve runs outside the main thread.
    parameters.catch_sigint_signal = False
    clock.limit(solver, seconds)
    work, look = partial(solver.solve, model), None
    if watch is not None:
        latest = _Latest()
        solver.best_bound_callback = latest.take_bound
        work = partial(solver.solve, model, latest)
        look = partial(latest.tell, watch)
    status = run_watched(work, clock, solver.stop_search, look)
    assert status is not None
    clock.charge(solver)
    return solver, status


class _Latest(cp_model.CpSolverSolutionCallback):
    """The best objective and bound so far; CP-SAT tells them from threads of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: int | None = None
        self.proved: int | None = None

    def on_solution_callback(self) -> None:
        self.found = round(self.objective_value)
        self.take_bound(self.best_objective_bound)

    def take_bound(self, bound: float) -> None:
        self.proved = round(bound)

    def tell(self, watch: Callable[[int | None, int | None], object]) -> None:
        watch(self.found, self.proved)
