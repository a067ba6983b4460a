"""The plain step that a plan is compared with."""

from __future__ import annotations

from memplan.ir.graph import Operation, OpGraph
from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.sizes import tensor_bytes, updated_parameters

__all__ = ["baseline_bytes", "forward_macs", "plain_operations"]


def plain_operations(graph: OpGraph, updated: frozenset[str]) -> tuple[Operation, ...]:
    """Return the operations of one plain step in traced order.

    Those that the outputs and the updates of ``updated`` parameters need, each by its plain
    alternative, with one micro-batch.
    """
    wanted = set(graph.outputs)
    needed = []
    for operation in reversed(graph.operations):
        if operation.phase == "statistics":
            runs = True
        elif operation.phase == "update":
            runs = operation.parameter in updated
        else:
            runs = operation.phase in ("forward", "backward") and not wanted.isdisjoint(
                operation.writes
            )
        if runs:
            needed.append(operation)
            wanted.update(operand.tensor for operand in operation.alternatives[0].reads)
    return tuple(reversed(needed))


def baseline_bytes(graph: OpGraph, batch: int) -> int:
    """Return the peak of live bytes of the plain step with full update at ``batch``.

    Operations in traced order, each update right after its gradient, each tensor freed after
    its last use, nothing recomputed, nothing in place, no micro-batches; with what is
    persistent, and with workspace.
    """
    request = PlanRequest(budget_bytes=1, batch=batch, update="full")
    mask: dict[str, LayerUpdate] = {
        name: choice[0]
        for name, choice in update_options(graph, request).items()
        if choice[0] is not None
    }
    operations = plain_operations(graph, updated_parameters(graph, mask))
    persistent = {name for operation in operations for name in operation.mutates}
    size = {
        name: tensor_bytes(tensor, batch, mask)
        for name, tensor in graph.tensor.items()
        if tensor.role != "constant"
        and (tensor.role not in ("parameter", "state") or name in persistent)
    }
    last_use = {name: len(operations) for name in graph.outputs}
    for step, operation in enumerate(operations):
        for operand in operation.alternatives[0].reads:
            last_use[operand.tensor] = max(step, last_use.get(operand.tensor, 0))
    live = sum(size[name] for name in persistent)
    live += sum(
        size[name]
        for name in last_use
        if graph.tensor[name].role in ("input", "label") and name not in persistent
    )
    peak = live
    for step, operation in enumerate(operations):
        plain = operation.alternatives[0]
        live += sum(size[name] for name in operation.writes)
        peak = max(peak, live + plain.workspace_bytes.at(batch))
        dying = {operand.tensor for operand in plain.reads} | set(operation.writes)
        live -= sum(
            size[name]
            for name in dying
            if name in size and name not in persistent and last_use.get(name, step) == step
        )
    return peak


def forward_macs(graph: OpGraph, batch: int, micro_batch: int) -> int:
    """Return the MACs of one forward pass over the batch: what a compute limit is counted in."""
    return (batch // micro_batch) * sum(
        operation.alternatives[0].macs.at(micro_batch)
        for operation in plain_operations(graph, frozenset())
        if operation.phase == "forward"
    )
