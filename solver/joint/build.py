"""Putting the joint model together, one family of constraints per module."""

from __future__ import annotations

from collections.abc import Sequence

from memplan.solver.instance import Instance
from memplan.solver.joint.addresses import add_addresses
from memplan.solver.joint.execution import add_execution
from memplan.solver.joint.in_place import add_in_place
from memplan.solver.joint.memory import add_memory
from memplan.solver.joint.objective import add_objective
from memplan.solver.joint.order import add_order
from memplan.solver.joint.retention import add_retention
from memplan.solver.joint.variables import JointModel, Windows

__all__ = ["build_joint_model", "default_computations"]


def default_computations(instance: Instance) -> tuple[int, ...]:
    """Return how often each operation may run in a model: once if it is not recomputable."""
    most = instance.request.modelled_computations
    return tuple(most if work.recomputable else 1 for work in instance.works)


def build_joint_model(
    instance: Instance,
    computations: Sequence[int] | None = None,
    windows: Windows | None = None,
    addresses: bool = True,
) -> JointModel:
    """Return the model of mask, recomputation, order, lifetimes, in-place and addresses.

    Args:
        computations: most computations per work.
        windows: steps that each computation is held to; None leaves the order free.
        addresses: without, only the sum of live bytes is limited (a relaxation).
    """
    counts = tuple(computations) if computations is not None else default_computations(instance)
    joint = JointModel(instance, counts, max(1, sum(counts)), windows or {})
    add_execution(joint)
    add_order(joint)
    add_retention(joint)
    add_in_place(joint)
    add_memory(joint)
    if addresses:
        add_addresses(joint)
    add_objective(joint)
    return joint
