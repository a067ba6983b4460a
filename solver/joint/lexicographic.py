"""Solving the joint model level by level: importance, then time, then bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ortools.sat.python import cp_model

from memplan.solver.clock import WALL, Clock
from memplan.solver.cp import Assignment, Interim, solve_model
from memplan.solver.joint.extract import extract
from memplan.solver.joint.hint import add_hints, fits_model
from memplan.solver.joint.variables import Expression, JointModel
from memplan.solver.levels import Proof
from memplan.solver.solution import Solution

__all__ = ["LevelResult", "solve_levels"]


@dataclass
class LevelResult:
    """The best solution of a joint model, and what was proved about the model."""

    solution: Solution | None = None
    #: Proved: the model has no solution (of at least the demanded worth).
    infeasible: bool = False
    #: Bounds of the model, level by level.
    proof: Proof = field(default_factory=Proof)


def solve_levels(
    joint: JointModel,
    seconds: float,
    *,
    hint: Solution | None = None,
    seed: int = 0,
    workers: int = 1,
    lns_only: bool = False,
    clock: Clock = WALL,
    on_solution: Callable[[Solution], object] | None = None,
    on_proof: Callable[[Proof], object] | None = None,
) -> LevelResult:
    """Optimise the levels in turn; each is held at its value while the next is improved.

    Args:
        on_solution: called with better solutions as they are found, those of each level last.
        on_proof: called ten times a second with what is proved of the model so far.
    """
    result = LevelResult()
    until = clock.now() + seconds
    assert joint.arena is not None
    levels: list[tuple[str, Expression, bool]] = [
        ("importance", joint.importance, True),
        ("time_ns", joint.time_ns, False),
        ("arena_bytes", joint.arena, False),
    ]
    if isinstance(joint.importance, int):
        levels.pop(0)
    best = hint if hint is not None and fits_model(joint, hint) else None
    for number, (name, expression, maximize) in enumerate(levels):
        left = until - clock.now()
        if left <= 0.02 or clock.stop():
            break
        if best is not None:
            add_hints(joint, best)
        if maximize:
            joint.model.maximize(expression)
        else:
            joint.model.minimize(expression)
        watch = None
        if on_proof is not None or on_solution is not None:
            # When CP-SAT says what depends on the wall: not where answers must not differ.
            timed = not joint.instance.request.deterministic
            watch = _Watch(joint, result.proof, name, on_proof, on_solution if timed else None)
        # Later levels keep a share; what an earlier one does not use goes to the next.
        solver, status = solve_model(
            joint.model,
            left * (0.6 if number < len(levels) - 1 else 1.0),
            seed,
            workers,
            clock,
            lns_only=lns_only and best is not None,
            watch=watch,
        )
        if status == cp_model.INFEASIBLE:
            # With upper levels held the held solution itself is feasible: only the first level
            # can be infeasible, and then the model is.
            result.infeasible = number == 0
            break
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        solution = extract(joint, solver)
        if result.solution is None or solution.worth <= result.solution.worth:
            result.solution = best = solution
            if on_solution is not None:
                on_solution(solution)
        value = round(solver.objective_value)
        bound = round(solver.best_objective_bound)
        setattr(result.proof, name, bound)
        if status != cp_model.OPTIMAL:
            break
        joint.model.add(expression >= value if maximize else expression <= value)
    return result


class _Watch:
    """Hands on what CP-SAT finds and proves about a level while it is at work."""

    def __init__(
        self,
        joint: JointModel,
        before: Proof,
        name: str,
        on_proof: Callable[[Proof], object] | None,
        on_solution: Callable[[Solution], object] | None,
    ) -> None:
        self._joint, self._before, self._name = joint, before, name
        self._on_proof, self._on_solution = on_proof, on_solution
        self._seen: Assignment | None = None

    def __call__(self, interim: Interim) -> None:
        best = interim.best
        if best is not None and best is not self._seen and self._on_solution is not None:
            self._seen = best
            self._on_solution(extract(self._joint, best))
        if interim.bound is not None and self._on_proof is not None:
            proof = replace(self._before)
            setattr(proof, self._name, interim.bound)
            self._on_proof(proof)
