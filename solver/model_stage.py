"""Plans and proofs by the joint model: whole, or around the incumbent."""

from __future__ import annotations

from functools import partial

from memplan.solver.joint import build_joint_model, default_computations
from memplan.solver.joint.lexicographic import solve_levels
from memplan.solver.levels import Proof
from memplan.solver.proofs import joined_proof
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.schedule import NO_LIMIT

__all__ = ["LARGEST_MODEL_COMPUTATIONS", "improve_by_model", "is_solved_whole", "solve_whole"]

#: Joint models of at most so many computations are solved whole, with everything free.
_WHOLE_MODEL_COMPUTATIONS = 60
#: Beyond so many, the joint model is not even tried around an incumbent.
LARGEST_MODEL_COMPUTATIONS = 500


def is_solved_whole(side: Side) -> bool:
    """Tell whether the joint model of a micro-batch is small enough to be solved whole."""
    return sum(default_computations(side.instance)) <= _WHOLE_MODEL_COMPUTATIONS


def solve_whole(pursuit: Pursuit, sides: list[Side]) -> None:
    """Solve the joint model of every micro-batch with everything free."""
    for number, side in enumerate(sides):
        pursuit.tell(f"joint model, micro-batch {side.samples}")
        best, hints = pursuit.best, pursuit.techniques.hints
        result = solve_levels(
            build_joint_model(side.instance),
            pursuit.left / (len(sides) - number),
            hint=best if hints and best and best.instance.samples == side.samples else None,
            seed=pursuit.request.seed,
            workers=pursuit.request.workers,
            clock=pursuit.clock,
            on_solution=pursuit.offer,
            on_proof=partial(_take_proof, pursuit, sides, side),
        )
        if not side.instance.coverable:  # else the model leaves out what the request allows
            side.proof, side.infeasible = result.proof, result.infeasible


def _take_proof(pursuit: Pursuit, sides: list[Side], side: Side, proof: Proof) -> None:
    """Take into account, for whoever watches, what is proved of a model that is being solved."""
    if not side.instance.coverable:
        side.proof = proof
        joined_proof(pursuit, sides)


def improve_by_model(pursuit: Pursuit) -> None:
    """Let CP-SAT's neighbourhood search improve the incumbent in the joint model."""
    best = pursuit.best
    if best is None or pursuit.left < 1.0:
        return
    side = next(s for s in pursuit.sides if s.samples == best.instance.samples)
    # One computation more than the incumbent uses, so that its hint is complete.
    used: dict[int, int] = {}
    for work, _ in best.schedule:
        used[work] = used.get(work, 0) + 1
    limit = pursuit.request.computations or NO_LIMIT
    computations = [
        max(used.get(index, 0), min(limit, used.get(index, 0) + 1)) if work.recomputable else 1
        for index, work in enumerate(side.instance.works)
    ]
    if sum(computations) > LARGEST_MODEL_COMPUTATIONS:
        return
    pursuit.tell("joint model around the best plan")
    solve_levels(
        build_joint_model(side.instance, computations),
        pursuit.left,
        hint=best if pursuit.techniques.hints else None,
        seed=pursuit.request.seed,
        workers=pursuit.request.workers,
        lns_only=True,
        clock=pursuit.clock,
        on_solution=pursuit.offer,
    )
