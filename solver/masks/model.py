"""Update masks by CP-SAT: the joint model with the order fixed and nothing computed twice.

Room is inflated step by step beyond the budget: with recomputation more importance may fit than
without, and the heuristics find out which of the masks do.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from memplan.ir.request import LayerUpdate
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL, Clock
from memplan.solver.cp import solve_model
from memplan.solver.instance import Instance
from memplan.solver.joint.build import build_joint_model

__all__ = ["masks_by_model"]

_INFLATIONS = (1.0, 1.15, 1.4, 1.8)


def masks_by_model(
    instance: Instance, seconds: float, seed: int, clock: Clock = WALL
) -> list[dict[str, LayerUpdate]]:
    """Return masks of most importance at the budget, and at some multiples of it."""
    masks = []
    for inflation in _INFLATIONS:
        request = instance.request.model_copy(
            update={
                "budget_bytes": int(instance.request.budget_bytes * inflation),
                "compute_limit": None,
            }
        )
        wider = build_instance(instance.graph, request, instance.samples)
        ones = (1,) * len(wider.works)
        windows = {(v, 0): (v, v) for v in range(len(wider.works))}
        joint = build_joint_model(wider, ones, windows, addresses=False)
        if isinstance(joint.importance, int):
            return []
        joint.model.maximize(joint.importance)
        solver, status = solve_model(
            joint.model, seconds / len(_INFLATIONS), seed, instance.request.workers, clock
        )
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            continue
        mask = {
            choice.layer: option
            for choice, literals in zip(wider.choices, joint.option, strict=True)
            for option, literal in zip(choice.options, literals, strict=True)
            if option is not None and solver.boolean_value(literal)
        }
        if mask not in masks:
            masks.append(mask)
    return masks
