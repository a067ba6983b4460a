"""Why nothing fits, what sets the bound, and what would help, with bytes."""

from __future__ import annotations

from memplan.ir.answer import Explanation, Remedy
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.ir.sizes import frozen_bytes
from memplan.solver.build_instance import build_instance
from memplan.solver.clock import WALL, Clock
from memplan.solver.micro_batches import allowed_micro_batches
from memplan.solver.pebble_bound import least_bytes
from memplan.solver.search import Outcome
from memplan.solver.solution import Solution
from memplan.solver.techniques import Techniques

__all__ = ["explain"]


def explain(
    graph: OpGraph, request: PlanRequest, outcome: Outcome, clock: Clock = WALL
) -> Explanation:
    """Return the reason for an answer without a plan."""
    bound = outcome.lower_bound
    if outcome.infeasible:
        frozen = f" beside {bound.frozen_bytes} B of frozen weights" if bound.frozen_bytes else ""
        reason = (
            f"every plan needs at least {bound.bytes} B{frozen}, "
            f"the budget is {request.budget_bytes} B"
        )
    else:
        reason = (
            "the search ended without a plan that fits and without a proof that there is none; "
            f"proven: at least {bound.bytes} B"
        )
    return Explanation(
        reason=reason,
        operation=bound.operation,
        tensors=bound.tensors[:8],
        remedies=tuple(_remedies(graph, request, outcome, clock)),
    )


def _remedies(graph: OpGraph, request: PlanRequest, outcome: Outcome, clock: Clock) -> list[Remedy]:
    remedies = []
    budget = None if outcome.smallest is None else _budget_of(outcome.smallest)
    if budget is not None:
        remedies.append(Remedy(action=f"a budget of {budget} B", bytes_after=budget, proven=True))
    for action, changes in _changes(graph, request):
        changed = request.model_copy(update=changes)
        micro_batches = allowed_micro_batches(graph, changed)
        seconds = 0.3 / len(micro_batches)
        bytes_after = min(
            least_bytes(build_instance(graph, changed, samples), seconds, Techniques(), clock).bytes
            for samples in micro_batches
        )
        if bytes_after < outcome.lower_bound.bytes:
            remedies.append(Remedy(action=action, bytes_after=bytes_after, proven=False))
    return remedies


def _budget_of(solution: Solution) -> int | None:
    """Return the budget in which a solution fits; None: its region of RAM is too small anyway."""
    instance, size = solution.instance, solution.worth.arena_bytes
    region, device = instance.region, instance.request.device
    if region is not None and size > region.size_bytes - region.reserved_bytes:
        return None
    if device is not None and device.weights == "ram":
        return size + frozen_bytes(instance.graph, instance.samples, instance.mask())
    return size


def _changes(graph: OpGraph, request: PlanRequest) -> list[tuple[str, dict[str, object]]]:
    changes: list[tuple[str, dict[str, object]]] = []
    if graph.mode == "train" and request.update == "full":
        changes.append(("update only what matters (--update auto)", {"update": "auto"}))
    if graph.mode == "train" and request.update in ("full", "auto"):
        changes.append(
            ("update the last layer alone (--update last-layer)", {"update": "last-layer"})
        )
    if graph.batch_symbolic and request.batch > 1:
        changes.append(("a batch of one sample (--batch 1)", {"batch": 1, "micro_batch": "auto"}))
    if not request.stream_inputs and request.batch > 1:
        changes.append(
            ("loading samples as they are needed (--stream-inputs)", {"stream_inputs": True})
        )
    return changes
