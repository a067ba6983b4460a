"""Is a frontier monotone, and each of its answers what it says it is?"""

from __future__ import annotations

from collections.abc import Sequence

from memplan.ir.check.answer import require_answer
from memplan.ir.errors import PlanRejectedError
from memplan.ir.frontier import Frontier, FrontierPoint
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest

__all__ = ["frontier_faults", "require_frontier", "strange_points"]


def require_frontier(
    graph: OpGraph,
    frontier: Frontier,
    request: PlanRequest | None = None,
    budgets: int | Sequence[int] = (),
) -> None:
    """Return if the checker accepts every plan, and the frontier keeps what it promises.

    Args:
        request, budgets: what was asked for, where it is not whoever asks that planned.

    Raises:
        PlanRejectedError: it does not; the first fault stands in the message.
    """
    faults = frontier_faults(graph, frontier)
    if request is not None:
        faults = strange_points(frontier, request, budgets) + faults
    if not faults:
        for point in frontier.points:
            require_answer(graph, point.request, point.answer)
    if faults:
        raise PlanRejectedError(f"frontier of {graph.name} rejected: {faults[0]}; plan it again")


def frontier_faults(graph: OpGraph, frontier: Frontier) -> list[str]:
    """Return where a frontier contradicts itself, the answers' own faults aside."""
    faults = []
    if frontier.graph_hash != graph.content_hash():
        faults.append("it is of another graph")
    asked = {_without_budget(point.request).content_hash() for point in frontier.points}
    if len(asked) > 1:
        faults.append("its requests differ in more than the budget")
    before: FrontierPoint | None = None
    for point in frontier.points:
        if before is not None:
            faults += _worse(before, point)
        if before is None or point.answer.plan is not None or before.answer.plan is None:
            before = point
    return faults


def strange_points(
    frontier: Frontier, request: PlanRequest, budgets: int | Sequence[int]
) -> list[str]:
    """Return in what a frontier is not one of this request and these budgets, or so many.

    Each point has its own budget, and a part of the time limit; where they are spaced evenly
    between two plans of nearly the same size there may be fewer than were asked for.
    """
    faults = []
    found = [point.budget_bytes for point in frontier.points]
    if isinstance(budgets, int):
        if len(found) > budgets:
            faults.append(f"it has {len(found)} budgets, where {budgets} were asked for")
    elif found != sorted(set(budgets)):
        faults.append("it is of other budgets")
    seconds = {"time_limit_seconds": request.time_limit_seconds}
    asked = _without_budget(request)
    for point in frontier.points:
        if _without_budget(point.request).model_copy(update=seconds) != asked:
            faults.append(f"at {point.budget_bytes} bytes it is of another request")
        elif point.request.time_limit_seconds > request.time_limit_seconds:
            faults.append(f"at {point.budget_bytes} bytes it claims more time than there was")
    return faults


def _without_budget(request: PlanRequest) -> PlanRequest:
    return request.model_copy(update={"budget_bytes": 1})


def _worse(before: FrontierPoint, point: FrontierPoint) -> list[str]:
    """Return how a point is worse than one of a smaller budget."""
    where = f"{point.budget_bytes} bytes, against {before.budget_bytes},"
    if before.answer.plan is None:
        return []
    if point.answer.plan is None:
        return [f"{where} have no plan"]
    less, more = before.answer.plan.totals, point.answer.plan.totals
    if (-more.importance, more.time_ns, more.arena_bytes) > (
        -less.importance,
        less.time_ns,
        less.arena_bytes,
    ):
        return [f"{where} have a worse plan"]
    return []
