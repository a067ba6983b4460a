"""Choosing one after the other: the mask, then the schedule, then the addresses.

1. *Mask* (``memplan.solver.masks.estimate``): most importance under an additive estimate, at the
   full batch.
2. *Schedule*, for that mask: the traced order, with the best recomputation that memplan's own
   greedy starts and annealing find for the budget.
3. *Addresses*, for that one schedule (the fastest that fits in live bytes): memplan's own packing.

The micro-batch is the full batch.  Only where that gives no plan, all three steps are taken again
for the next smaller one, with the estimate for it.

Nothing is fed back: an address that is not found does not change the schedule, a schedule that
is not found does not change the mask.  Every step is as good as memplan can do it, with the time
limit of the joint search; what differs is only that the steps do not know of each other.  A plan
counts if ``ir.check`` accepts it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from memplan.ir.check import require
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Certificate, Plan
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, solver_version
from memplan.solver.assemble import assemble
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import build_instance
from memplan.solver.instance import Instance
from memplan.solver.levels import Proof, certify_levels
from memplan.solver.masks.estimate import MemoryEstimate, choose_mask, estimate_memory
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.pursuit import fits
from memplan.solver.schedule import Table
from memplan.solver.scheduling.heuristics import find_schedules
from memplan.solver.solution import Solution, place

__all__ = ["Estimates", "Smallest", "estimates_of", "plan_sequentially", "smallest_sequential"]

#: The estimate for each micro-batch, the largest first.
Estimates = Mapping[int, MemoryEstimate]

#: Of the time for one micro-batch, the part of the schedule; the rest is for its addresses.
_SCHEDULE_SHARE = 0.6
_MOST_PROBES = 8
#: The search for the smallest budget ends where the open interval is this narrow.
_NARROW = 1.02


def estimates_of(
    graph: OpGraph, request: PlanRequest, reach_samples: int | None = None
) -> Estimates:
    """Return the estimate for each micro-batch that the request allows.

    Where the request leaves no choice of the mask the estimate is empty.

    Args:
        reach_samples: as of ``estimate_memory``; None: every layer is measured.
    """
    instances = {
        samples: build_instance(graph, request, samples)
        for samples in allowed_micro_batches(graph, request)
    }
    return {
        samples: MemoryEstimate(0, ())
        if instance.fixed
        else estimate_memory(instance, reach_samples)
        for samples, instance in instances.items()
    }


def plan_sequentially(graph: OpGraph, request: PlanRequest, estimates: Estimates) -> Plan | None:
    """Return the checked plan that the sequential way finds, or None.

    The time limit is for schedules and addresses; the mask's second comes on top.

    Raises:
        PlanRejectedError: the plan is wrong (a defect of memplan).
    """
    masks = {
        each: choose_mask(estimate, request.budget_bytes) if estimate.layers else None
        for each, estimate in estimates.items()
    }
    deadline = time.monotonic() + request.time_limit_seconds
    for number, (samples, mask) in enumerate(masks.items()):
        left = max(0.0, deadline - time.monotonic()) / (len(masks) - number)
        instance = build_instance(graph, request, samples, mask)
        solution = _schedule_then_addresses(instance, left)
        if solution is not None:
            return _checked(graph, request, solution)
    return None


def _schedule_then_addresses(instance: Instance, seconds: float) -> Solution | None:
    request = instance.request
    if instance.limit_bytes < instance.store_bytes - instance.alignment_bytes:
        return None
    deadline = time.monotonic() + seconds
    table = Table.of(instance)
    found = find_schedules(
        table,
        instance.room_bytes,
        _SCHEDULE_SHARE * seconds,
        request.seed,
        Techniques(),
    )
    if not found.fitting:
        return None
    _, _, schedule = found.fitting[0]
    solution = place(
        table,
        schedule,
        instance.room_bytes,
        max(0.0, deadline - time.monotonic()),
        request.seed,
        request.workers,
    )
    return solution if fits(solution) else None


def _checked(graph: OpGraph, request: PlanRequest, solution: Solution) -> Plan:
    levels, status = certify_levels(
        solution.worth, Proof(), lower_bound_bytes=0, choice=request.update == "auto"
    )
    plan = assemble(
        solution,
        Certificate(
            status=status,
            levels=levels,
            lower_bound_bytes=0,
            restrictions=("mask, schedule and addresses were chosen one after the other",),
            solver=solver_version(),
            graph_hash=graph.content_hash(),
            request_hash=request.content_hash(),
            checked_by="memplan.ir.check/1",
        ),
    )
    require(graph, plan)
    return plan


@dataclass(frozen=True, slots=True)
class Smallest:
    """The smallest bytes that the sequential way was found to do."""

    arena_bytes: int
    #: Plans of the probes that fitted; each counts at every budget that holds its arena.
    plans: tuple[Plan, ...]
    probes: int


def smallest_sequential(
    graph: OpGraph,
    request: PlanRequest,
    estimates: Estimates,
    tell: Callable[[str], None] = lambda _: None,
) -> Smallest | None:
    """Bisect over budgets; the time limit of ``request`` holds for each probe.

    Starts at the least estimate of any mask at the full batch, and goes up from there if that
    does not fit.  Ends at the proven lower bound, at an interval of 2 %, or after eight probes.
    """
    low = max(
        1,
        min(
            lower_bound(build_instance(graph, request, samples), 1.0).bytes for samples in estimates
        ),
    )
    budget = max(low, max(each.of(choose_mask(each, 0)) for each in estimates.values()))
    high: int | None = None
    plans: list[Plan] = []
    probes = 0
    while probes < _MOST_PROBES and (high is None or high > low * _NARROW):
        probes += 1
        probe = request.model_copy(update={"budget_bytes": budget})
        plan = plan_sequentially(graph, probe, estimates)
        tell(f"probe {probes}: {budget} bytes {'fit' if plan else 'do not fit'}")
        if plan is None:
            low = budget
        else:
            plans.append(plan)
            high = plan.totals.arena_bytes
        budget = int(budget * 1.3) if high is None else math.isqrt(low * high)
    if high is None:
        return None
    return Smallest(high, tuple(plans), probes)
