"""From a graph and a request to an answer: search, assemble, check, explain."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Literal

from memplan.ir.answer import Answer
from memplan.ir.baseline import baseline_bytes
from memplan.ir.check import require
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Certificate, Plan
from memplan.ir.request import PlanRequest
from memplan.solver.assemble import assemble
from memplan.solver.clock import Clock, WorkClock, never
from memplan.solver.explain import explain
from memplan.solver.levels import certify_levels
from memplan.solver.local_search import prepare
from memplan.solver.progress import Progress
from memplan.solver.search import Outcome, search
from memplan.solver.techniques import Techniques

__all__ = ["solve", "solver_version"]


def solver_version() -> str:
    """Return the name and versions that, with graph and request, identify a job."""
    return f"memplan {version('memplan')} / ortools {version('ortools')}"


def solve(
    graph: OpGraph,
    request: PlanRequest,
    *,
    techniques: Techniques | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = never,
) -> Answer:
    """Plan ``graph`` within ``request``; every plan in the answer has passed ``ir.check``.

    Args:
        techniques: what the search may use; default: everything.
        progress: called from this thread, at most five times a second.
        stop: polled; once it returns true the best plan so far is returned.

    Raises:
        RequestError: the request contradicts the graph.
        PlanRejectedError: the search produced a plan that is wrong (a defect of memplan).
    """
    prepare()
    began = time.monotonic()
    clock = WorkClock(stop) if request.deterministic else Clock(stop)
    outcome = search(graph, request, techniques or Techniques(), progress, clock)
    plan = None if outcome.best is None else _checked_plan(graph, request, outcome)
    status: Literal["optimal", "feasible", "infeasible", "undecided"]
    if plan is not None:
        status = plan.certificate.status
    else:
        status = "infeasible" if outcome.infeasible else "undecided"
    return Answer(
        status=status,
        plan=plan,
        lower_bound_bytes=outcome.lower_bound.bytes,
        smallest_found_bytes=(
            outcome.smallest.worth.arena_bytes if outcome.smallest is not None else None
        ),
        baseline_bytes=baseline_bytes(graph, request.batch),
        explanation=None if plan is not None else explain(graph, request, outcome, clock),
        solve_seconds=round(time.monotonic() - began, 3),
    )


def _checked_plan(graph: OpGraph, request: PlanRequest, outcome: Outcome) -> Plan:
    best = outcome.best
    assert best is not None
    choice = any(len(c.options) > 1 for side in outcome.sides for c in side.instance.choices)
    levels, status = certify_levels(best.worth, outcome.proof, outcome.lower_bound.bytes, choice)
    certificate = Certificate(
        status=status,
        levels=levels,
        lower_bound_bytes=outcome.lower_bound.bytes,
        restrictions=tuple(outcome.proof.restrictions),
        solver=solver_version(),
        graph_hash=graph.content_hash(),
        request_hash=request.content_hash(),
        checked_by="memplan.ir.check/1",
    )
    plan = assemble(best, certificate)
    require(graph, plan)
    return plan
