"""(OpGraph, PlanRequest) -> Answer: the joint model and the search around it, without torch."""

from memplan.solver._frontier import FrontierProgress, frontier
from memplan.solver._prepare import prepare
from memplan.solver._solve import solve, solver_version
from memplan.solver.progress import Progress
from memplan.solver.techniques import Techniques

__all__ = [
    "FrontierProgress",
    "Progress",
    "Techniques",
    "frontier",
    "prepare",
    "solve",
    "solver_version",
]
