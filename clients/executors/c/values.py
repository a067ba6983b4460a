"""From tensors of torch to the bytes that generated code holds, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from memplan.clients.executors.torch.geometry import active_slice, tensor_view
from memplan.clients.executors.torch.integer_inputs import integer_inputs
from memplan.clients.executors.torch.outside import Outside, check_tensor, whole_weights
from memplan.ir.errors import DataError
from memplan.ir.graph import OpGraph, Tensor
from memplan.ir.plan import Plan

__all__ = ["first_values", "input_parts", "merge_parameter", "to_bytes"]


def to_bytes(value: torch.Tensor) -> bytes:
    """Return the elements of a tensor in row-major order, little endian."""
    flat = value.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def first_values(
    graph: OpGraph, plan: Plan, weights: Mapping[str, torch.Tensor]
) -> dict[str, bytes]:
    """Return what ``write_project`` asks for.

    Parameters, state and constants, computed ones included, whole and in their own strides; of
    partly updated parameters also, under ``<id>#slice``, the updated channels.

    Raises:
        DataError: weights are missing or have another shape.
    """
    with torch.inference_mode():
        given = whole_weights(graph, weights)
        # Nothing is updated for it: so it has the whole of every tensor.
        outside = Outside(graph, given, plan.micro_batch, {})
        values = {}
        for tensor in graph.tensors:
            computed = tensor.id in graph.producer
            if tensor.id not in given and not (
                computed and graph.producer[tensor.id].phase == "constant"
            ):
                continue
            view = tensor_view(tensor, plan.micro_batch, None)
            whole = outside.view(tensor.id, view)
            values[tensor.id] = _in_own_strides(whole)
            update = plan.update_of.get(tensor.layer) if tensor.layer else None
            rule = active_slice(tensor, update)
            if rule is not None and rule.dim is not None and update is not None:
                part = whole.index_select(rule.dim, torch.tensor(update.channels))
                values[f"{tensor.id}#slice"] = to_bytes(part)
    return values


def input_parts(
    graph: OpGraph, plan: Plan, input_ids: tuple[str, ...], inputs: Mapping[str, torch.Tensor]
) -> list[list[bytes]]:
    """Return the bytes of one batch: for each input one part, or one per trip if it is streamed.

    Inputs that are asked for row by row have no buffer, or stand behind the others once more; they
    come trip by trip.

    Float samples of an int8 graph become the integers that it takes.

    Raises:
        DataError: an input is missing or has another shape.
    """
    inputs = integer_inputs(graph, inputs)
    parts: list[list[bytes]] = []
    scopes = {buffer.tensor: buffer.scope for buffer in plan.buffers}
    for number, name in enumerate(input_ids):
        tensor = graph.tensor[name]
        if name not in inputs:
            raise DataError(f"inputs: {tensor.role} {name!r} is missing")
        value = inputs[name]
        check_tensor(tensor, value, plan.batch, "inputs:")
        by_rows = name not in scopes or name in input_ids[:number]
        if plan.trips > 1 and (by_rows or scopes[name] == "body"):
            dim = next(d for d, size in enumerate(tensor.shape) if size.per_sample)
            parts.append([to_bytes(part) for part in value.chunk(plan.trips, dim)])
        else:
            parts.append([to_bytes(value)])
    return parts


def merge_parameter(
    tensor: Tensor, plan: Plan, before: torch.Tensor, part: torch.Tensor
) -> torch.Tensor:
    """Return an updated parameter, whole: its frozen channels as they were."""
    update = plan.update_of.get(tensor.layer) if tensor.layer else None
    rule = active_slice(tensor, update)
    if rule is None or rule.dim is None or update is None:
        return part
    return before.clone().index_copy_(rule.dim, torch.tensor(update.channels), part)


def _in_own_strides(value: torch.Tensor) -> bytes:
    if value.is_contiguous():
        return to_bytes(value)
    last = sum((n - 1) * s for n, s in zip(value.shape, value.stride(), strict=True))
    return to_bytes(torch.as_strided(value, (last + 1,), (1,)))
