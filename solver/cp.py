"""Running CP-SAT: one place for its parameters, and for stopping it from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock
from memplan.solver.native import run_watched

__all__ = ["Assignment", "Interim", "solve_model"]


def solve_model(
    model: cp_model.CpModel,
    seconds: float,
    seed: int,
    workers: int,
    clock: Clock = WALL,
    *,
    lns_only: bool = False,
    watch: Callable[[Interim], object] | None = None,
) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    """Solve ``model`` within ``seconds``; the clock's ``stop`` is polled ten times a second.

    Args:
        watch: called as often, with what was found and proved so far.
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
        listener = _Listener()
        solver.best_bound_callback = listener.take_bound
        work = partial(solver.solve, model, listener)
        look = partial(watch, listener.interim)
    status = run_watched(work, clock, solver.stop_search, look)
    assert status is not None
    clock.charge(solver)
    return solver, status


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value per variable of a model, by index; asked as a solver is."""

    numbers: tuple[int, ...]

    def value(self, variable: cp_model.IntVar) -> int:
        """Return the value of a variable."""
        return self.numbers[variable.index]

    def boolean_value(self, literal: cp_model.IntVar) -> bool:
        """Return whether a variable that is 0 or 1 is 1."""
        return bool(self.numbers[literal.index])


@dataclass(slots=True)
class Interim:
    """What CP-SAT has found and proved so far; None: nothing yet."""

    objective: int | None = None
    bound: int | None = None
    best: Assignment | None = None


class _Listener(cp_model.CpSolverSolutionCallback):
    """Takes what CP-SAT tells from threads of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.interim = Interim()

    def on_solution_callback(self) -> None:
        interim = self.interim
        interim.objective = round(self.objective_value)
        interim.bound = round(self.best_objective_bound)
        interim.best = Assignment(tuple(self.response_proto.solution))

    def take_bound(self, bound: float) -> None:
        self.interim.bound = round(bound)
