"""The smallest arena that a request with a given update mask is found to need."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import Progress, solve

__all__ = ["Smallest", "smallest_plan"]

#: The first probe, which aims at the lower bound, gets this part of the time.
_FIRST_SHARE = 0.4
#: A later probe gets this part of what is left, and no less than so many seconds.
_SHARE, _LEAST_SECONDS = 0.4, 1.0
#: Looking on is over where no budget between is further below than this part of the smallest.
_NARROW = 0.005


@dataclass(frozen=True, slots=True)
class Smallest:
    """What bisection ended with.

    Attributes:
        plan: the smallest that was found; it has passed ``ir.check``.  None: none was.
        lower_bound_bytes: proved; no plan of this mask needs fewer.
        seconds: what it took.
    """

    plan: Plan | None
    lower_bound_bytes: int
    seconds: float


def smallest_plan(
    graph: OpGraph,
    request: PlanRequest,
    seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Smallest:
    """Bisect over budgets, from the lower bound up; a probe ends with the first plan that fits.

    The budget and the time limit of ``request`` are of no account.
    """
    began = time.monotonic()
    until = began + seconds
    bound = _probe(graph, request, 1, seconds).lower_bound_bytes
    in_vain = bound - 1  # the largest budget that nothing was found for
    budget, share = bound, _FIRST_SHARE
    plan: Plan | None = None
    while (left := until - time.monotonic()) > _LEAST_SECONDS / 2:
        answer = _probe(graph, request, budget, min(left, max(_LEAST_SECONDS, share * left)))
        proved = budget + 1 if answer.status == "infeasible" else answer.lower_bound_bytes
        bound, share = max(bound, proved), _SHARE
        found = None if answer.plan is None else _arena(answer.plan)
        tell(f"{budget:,} bytes {'were not enough' if found is None else f'fit: {found:,}'}")
        if found is not None:
            plan = answer.plan
        else:
            in_vain = max(in_vain, budget)
        if plan is None:
            seen = answer.smallest_found_bytes or 0
            budget = seen if seen > budget else budget + max(1, budget // 50)
            continue
        if in_vain >= _arena(plan):
            in_vain = bound - 1  # what the search misses at one budget it may find at another
        if _arena(plan) - max(bound, in_vain + 1) <= _NARROW * _arena(plan):
            break
        budget = (in_vain + _arena(plan)) // 2
    return Smallest(plan, bound, round(time.monotonic() - began, 1))


def _arena(plan: Plan) -> int:
    return plan.totals.arena_bytes


def _probe(graph: OpGraph, request: PlanRequest, budget_bytes: int, seconds: float) -> Answer:
    """Plan until something fits, or the time is over."""
    fits = False

    def watch(progress: Progress) -> None:
        nonlocal fits
        fits = fits or progress.arena_bytes is not None

    probe = request.model_copy(update={"budget_bytes": budget_bytes, "time_limit_seconds": seconds})
    return solve(graph, probe, progress=watch, stop=lambda: fits)
