"""(OpGraph, PlanRequest) -> Plan: the joint model and the search around it.  Never imports torch."""

from memplan.solver._solve import solve, solver_version
from memplan.solver.progress import Progress
from memplan.solver.techniques import Techniques

__all__ = ["Progress", "Techniques", "solve", "solver_version"]
