"""How bytes and MACs follow from micro-batch and update mask: the contract's arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from memplan.ir.graph import Alternative, AxisSize, Operation, OpGraph, Tensor
from memplan.ir.request import LayerUpdate

__all__ = [
    "Mask",
    "alternative_allowed",
    "alternative_cost",
    "cut",
    "frozen_bytes",
    "input_bytes",
    "tensor_bytes",
    "updated_parameters",
    "workspace_bytes",
]

Mask = Mapping[str, LayerUpdate]


def cut(full: int, slices: Iterable[AxisSize], update: LayerUpdate | None) -> int:
    """Return what is left of a full size where ``update`` takes part of a layer's channels."""
    if update is not None:
        for size in slices:
            if size.axis == update.weight:
                return full // size.channels * len(update.channels)
    return full


def tensor_bytes(tensor: Tensor, samples: int, mask: Mask) -> int:
    """Return the bytes of ``tensor`` at a micro-batch of ``samples`` under ``mask``."""
    full = tensor.size_bytes.at(samples)
    return cut(full, tensor.slices, mask.get(tensor.layer)) if tensor.layer else full


def alternative_cost(
    operation: Operation, alternative: Alternative, samples: int, mask: Mask
) -> tuple[int, int]:
    """Return (MACs, moved bytes) of one execution."""
    update = mask.get(operation.layer) if operation.layer else None
    return (
        cut(alternative.macs.at(samples), alternative.slices, update),
        cut(alternative.moved_bytes.at(samples), alternative.slices, update),
    )


def workspace_bytes(
    operation: Operation, alternative: Alternative, samples: int, mask: Mask
) -> int:
    """Return the bytes of scratch memory that one execution needs in the arena."""
    update = mask.get(operation.layer) if operation.layer else None
    return cut(alternative.workspace_bytes.at(samples), alternative.slices, update)


def alternative_allowed(operation: Operation, alternative: Alternative, mask: Mask) -> bool:
    """Tell whether the update mask admits this way of executing the operation."""
    if alternative.axes is None:
        return True
    update = mask.get(operation.layer) if operation.layer else None
    return update is not None and update.weight in alternative.axes


def updated_parameters(graph: OpGraph, mask: Mask) -> frozenset[str]:
    """Return the parameters that ``mask`` updates, in whole or in part."""
    chosen = set()
    for layer in graph.layers:
        update = mask.get(layer.id)
        if update is None:
            continue
        if update.bias and layer.bias is not None:
            chosen.add(layer.bias)
        if update.weight != "none" and layer.weight is not None:
            chosen.add(layer.weight)
    return frozenset(chosen)


def input_bytes(tensor: Tensor, batch: int, samples: int, stream_inputs: bool) -> int:
    """Return what a batch of inputs or labels takes: all of it, unless it is streamed."""
    return tensor.size_bytes.at(samples if stream_inputs or samples == batch else batch)


def frozen_bytes(graph: OpGraph, samples: int, mask: Mask) -> int:
    """Return the bytes of frozen weights and constants, which no step writes."""
    updated = updated_parameters(graph, mask)
    mutated = {name for operation in graph.operations for name in operation.mutates}
    total = 0
    for tensor in graph.tensors:
        if tensor.role == "parameter":
            total += tensor.size_bytes.at(samples)
            if tensor.id in updated:
                total -= tensor_bytes(tensor, samples, mask)
        elif tensor.role == "constant" or (tensor.role == "state" and tensor.id not in mutated):
            total += tensor.size_bytes.at(samples)
    return total
