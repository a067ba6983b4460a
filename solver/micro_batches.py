"""The micro-batches that a request allows."""

from __future__ import annotations

from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest

__all__ = ["allowed_micro_batches"]


def allowed_micro_batches(graph: OpGraph, request: PlanRequest) -> tuple[int, ...]:
    """Return the micro-batches to consider, the largest first.

    Raises:
        RequestError: the request's batch or micro-batch cannot be had with this graph.
    """
    batch = request.batch
    if not graph.batch_symbolic and batch != graph.traced_batch:
        raise RequestError(
            f"batch {batch}: this graph holds for batch {graph.traced_batch} only; "
            "export the model with a dynamic batch, or trace it at the batch you want"
        )
    if not graph.batch_symbolic or graph.batch_coupled_by:
        if request.micro_batch not in ("auto", batch):
            why = graph.batch_coupled_by or "the graph is not symbolic in its batch"
            raise RequestError(
                f"micro-batch {request.micro_batch}: the batch cannot be divided ({why}); "
                f"use --micro-batch auto or {batch}"
            )
        return (batch,)
    if request.micro_batch != "auto":
        return (request.micro_batch,)
    return tuple(size for size in range(batch, 0, -1) if batch % size == 0)
