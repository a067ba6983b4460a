"""The joint model: mask, order, recomputation, lifetimes, in-place and addresses in one CP-SAT
model, one module per family of constraints (DESIGN of the model: docs/solver.md)."""

from memplan.solver.joint.build import build_joint_model, default_computations
from memplan.solver.joint.extract import extract
from memplan.solver.joint.hint import add_hints
from memplan.solver.joint.variables import JointModel

__all__ = ["JointModel", "add_hints", "build_joint_model", "default_computations", "extract"]
