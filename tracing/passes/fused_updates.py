"""Update a weight without its gradient ever existing whole.

The gradient is computed in chunks of rows, and each chunk is applied at once.  The operation that
computes the whole gradient then is not needed.
"""

from __future__ import annotations

from typing import Any

from memplan.ir.dtypes import BITS
from memplan.ir.graph import RunningArgument
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, Recipe, View, elements

__all__ = ["CHUNKS", "offer_fused_updates"]

#: Most chunks that a gradient is cut into.
CHUNKS = 16

_RUNNING = RunningArgument(running=True)


def offer_fused_updates(draft: Draft) -> None:
    """Add fused alternatives to updates and accumulations of weights."""
    producers = draft.producers()
    for operation in draft.operations:
        if operation.phase not in ("update", "accumulate") or operation.parameter is None:
            continue
        gradient = draft.gradients[operation.parameter]
        producer = producers.get(gradient.tensor)
        weight = draft.tensors[operation.parameter]
        if producer is None or not _chunks_by_row(producer.plain):
            continue
        if not draft.tensors[gradient.tensor].is_whole(gradient) or gradient.shape != weight.shape:
            continue
        rows = -(-weight.shape[0].fixed // CHUNKS)
        if rows >= weight.shape[0].fixed:
            continue
        dtype = draft.tensors[gradient.tensor].dtype
        row_bytes = elements(weight.shape[1:], 1) * BITS[dtype] // 8
        for way in producer.alternatives:
            if way.target == producer.target:
                _offer(operation, way, weight, gradient, Affine(rows * row_bytes))


def _chunks_by_row(gradient: Recipe) -> bool:
    """Whether rows of the gradient can be computed by themselves."""
    if gradient.target in ("memplan.conv_weight_gradient", "memplan.conv_weight_gradient_int8x"):
        transposed, groups = gradient.arguments[6], gradient.arguments[8]
        return not (transposed and groups > 1)
    return gradient.target in (
        "memplan.linear_weight_gradient",
        "memplan.embedding_weight_gradient",
    )


def _offer(
    operation: DraftOperation, way: Recipe, weight: DraftTensor, gradient: View, chunk: Affine
) -> None:
    """Add the fused form of an update and one way of computing the gradient.

    Only for axes across the rows: along them, a chunk of a slice would be less than a row.
    """
    update = operation.plain

    def running(argument: Any) -> Any:
        return _RUNNING if argument == gradient else argument

    across = {cut.axis for cut in weight.slices if cut.dim != 0}
    allowed = way.axes or ("whole", *(cut.axis for cut in way.slices))
    axes = tuple(axis for axis in allowed if axis == "whole" or axis in across)
    if not axes:
        return
    operation.alternatives.append(
        Recipe(
            "fused" if way.name == "plain" else f"fused_{way.name}",
            "memplan.fused",
            (
                update.target,
                way.target,
                tuple(running(argument) for argument in update.arguments),
                way.arguments,
            ),
            workspace_bytes=chunk,
            slices=tuple(cut for cut in way.slices if cut.axis in axes),
            axes=axes if weight.slices else None,
        )
    )
