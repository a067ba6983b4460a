"""The last step: from the draft to the contract's OpGraph, with costs."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from memplan.ir.errors import ModelError
from memplan.ir.graph import (
    Alternative,
    InPlacePair,
    Operand,
    OperandArgument,
    Operation,
    OpGraph,
    Tensor,
)
from memplan.ir.limits import MAX_OPERATIONS, MAX_TENSORS
from memplan.ir.units import Affine
from memplan.tracing.costs import macs_of, moved_bytes_of
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View
from memplan.tracing.settings import TraceSettings

__all__ = ["to_graph"]


def to_graph(draft: Draft, settings: TraceSettings, batch: int) -> OpGraph:
    """Return the finished graph.

    Raises:
        ModelError: the model is too large, or an operation cannot be expressed.
    """
    used = set(draft.outputs) | {
        name
        for operation in draft.operations
        for name in (
            *operation.writes,
            *operation.mutates,
            *(view.tensor for view in operation.reads()),
        )
    }
    used.update(name for layer in draft.layers for name in (layer.weight, layer.bias) if name)
    known = (draft.tensors[name].quantization for name in used)
    used |= {found.scales for found in known if found is not None and found.scales is not None}
    if len(draft.operations) > MAX_OPERATIONS or len(used) > MAX_TENSORS:
        raise ModelError(
            f"{draft.name}: {len(draft.operations)} operations; at most {MAX_OPERATIONS} can be "
            "planned"
        )
    try:
        return OpGraph(
            name=draft.name,
            mode=settings.mode,
            loss=settings.loss_contract(),
            optimizer=settings.optimizer_contract(),
            batch_norm=settings.batch_norm,
            quantization=draft.quantization,
            traced_batch=batch,
            batch_symbolic=draft.symbolic,
            batch_coupled_by=draft.coupled_by,
            tensors=tuple(
                Tensor(
                    id=tensor.id,
                    role=tensor.role,
                    dtype=tensor.dtype,
                    shape=tensor.shape,
                    strides=tensor.strides,
                    size_bytes=tensor.size_bytes,
                    layer=tensor.layer,
                    slices=tensor.slices,
                    source=tensor.source,
                    quantization=tensor.quantization,
                )
                for tensor in draft.tensors.values()
                if tensor.id in used
            ),
            operations=tuple(_operation(draft, operation) for operation in draft.operations),
            layers=tuple(draft.layers),
            outputs=tuple(draft.outputs),
        )
    except ValidationError as failure:
        first = failure.errors(include_url=False)[0]
        raise ModelError(f"{draft.name}: this model makes no valid graph: {first['msg']}") from None


def _operation(draft: Draft, operation: DraftOperation) -> Operation:
    if any(name is None for name in operation.writes):
        raise ModelError(
            f"{draft.name}: operation {operation.target} leaves out one of its results; "
            "it cannot be planned"
        )
    return Operation(
        id=operation.id,
        phase=operation.phase,
        layer=operation.layer,
        parameter=operation.parameter,
        writes=operation.writes,
        mutates=operation.mutates,
        alternatives=tuple(
            _alternative(draft, operation, recipe) for recipe in operation.alternatives
        ),
        recomputable=operation.recomputable,
    )


def _alternative(draft: Draft, operation: DraftOperation, recipe: Recipe) -> Alternative:
    reads = recipe.reads()
    index = {view: OperandArgument(operand=i) for i, view in enumerate(reads)}

    def walk(argument: Any) -> Any:
        if isinstance(argument, View):
            return index[argument]
        if isinstance(argument, tuple):
            return tuple(walk(part) for part in argument)
        return argument

    return Alternative(
        name=recipe.name,
        target=recipe.target,
        reads=tuple(_operand(draft, view) for view in reads),
        arguments=walk(recipe.arguments),
        keywords={name: walk(value) for name, value in recipe.keywords.items()},
        in_place=tuple(
            InPlacePair(read=reads.index(view), write=write) for view, write in recipe.in_place
        ),
        workspace_bytes=recipe.workspace_bytes,
        macs=macs_of(draft, operation, recipe),
        moved_bytes=moved_bytes_of(draft, operation, recipe),
        slices=recipe.slices,
        axes=recipe.axes,
        covers=recipe.covers,
        uses_up=None if recipe.uses_up is None else reads.index(recipe.uses_up),
    )


def _operand(draft: Draft, view: View) -> Operand:
    if draft.tensors[view.tensor].is_whole(view):
        return Operand(tensor=view.tensor)
    offset = view.offset if view.offset != Affine(0) else Affine(0)
    return Operand(tensor=view.tensor, shape=view.shape, strides=view.strides, offset=offset)
