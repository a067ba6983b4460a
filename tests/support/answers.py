"""Answers for tests of what consumes them, without a solver."""

from __future__ import annotations

from collections.abc import Sequence

from memplan.ir.answer import Answer, Explanation, Remedy
from memplan.ir.baseline import baseline_bytes
from memplan.ir.frontier import Frontier, FrontierPoint
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from tests.support.naive_plan import naive_plan

__all__ = ["found", "naive_frontier", "not_found"]


def found(graph: OpGraph, request: PlanRequest) -> Answer:
    """Return an answer with a plan that the checker accepts if the budget is large enough."""
    plan = naive_plan(graph, request)
    return Answer(
        status="feasible",
        plan=plan,
        lower_bound_bytes=plan.certificate.lower_bound_bytes,
        smallest_found_bytes=plan.totals.arena_bytes,
        baseline_bytes=plan.totals.baseline_bytes,
        solve_seconds=0.25,
    )


def naive_frontier(graph: OpGraph, request: PlanRequest, budgets: int | Sequence[int]) -> Frontier:
    """Return a frontier with the same plan for every budget; their number: from 1 MB on."""
    listed = [10**6 + n for n in range(budgets)] if isinstance(budgets, int) else budgets
    requests = [
        request.model_copy(update={"budget_bytes": budget, "time_limit_seconds": 1.0})
        for budget in sorted(set(listed))
    ]
    return Frontier(
        graph_hash=graph.content_hash(),
        points=tuple(
            FrontierPoint(request=request, answer=found(graph, request)) for request in requests
        ),
    )


def not_found(graph: OpGraph, request: PlanRequest, *, proved: bool) -> Answer:
    """Return an answer without a plan."""
    return Answer(
        status="infeasible" if proved else "undecided",
        plan=None,
        lower_bound_bytes=request.budget_bytes + 1 if proved else 1,
        smallest_found_bytes=request.budget_bytes + 512,
        baseline_bytes=baseline_bytes(graph, request.batch),
        explanation=Explanation(
            reason="the head reads and writes more than the budget",
            operation="head",
            tensors=(("h29", 8192),),
            remedies=(Remedy(action="a batch of one sample", bytes_after=8208, proven=False),),
        ),
    )
