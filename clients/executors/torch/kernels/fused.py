"""Updates and accumulations whose gradient never exists whole.

The gradient is computed in chunks of rows along the first dimension of the parameter, each in the
plan's workspace, and used at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.call import Call, Kernel, Run
from memplan.clients.executors.torch.kernels.convolution import Geometry
from memplan.clients.executors.torch.kernels.elementwise import substitute
from memplan.clients.executors.torch.kernels.embedding import bind_table_gradient
from memplan.clients.executors.torch.kernels.int8_training import scales_of_rows
from memplan.clients.executors.torch.kernels.selection import with_channels
from memplan.clients.executors.torch.kernels.update import adam

__all__ = ["fused"]

#: Returns the run that computes rows of a gradient into the call's output.
RowKernel = Callable[[Kernel, Call, range], Run]


def fused(bind: Kernel, call: Call) -> Run:
    """``memplan.fused(update, gradient, [arguments of the update], [of the gradient])``."""
    update_target, gradient_target, update_arguments, gradient_arguments = call.arguments
    target = call.mutates[0]
    # The gradient of integers is in float32.
    dtype = target.dtype if target.is_floating_point() else torch.float32
    row_bytes = target[:1].numel() * dtype.itemsize
    workspace = call.workspace
    per_chunk = workspace.numel() // row_bytes if workspace is not None and row_bytes else 0
    if workspace is None or per_chunk < 1:
        raise call.fail(f"its workspace is smaller than a row of the gradient ({row_bytes} bytes)")
    row_kernel = _ROWS.get(gradient_target)
    if row_kernel is None:
        if per_chunk < target.shape[0]:
            raise call.fail(f"{gradient_target} cannot be computed in parts")
        row_kernel = _whole
    gradient_call = replace(
        call, target=gradient_target, arguments=tuple(gradient_arguments), mutates=()
    )
    parts = []
    for start in range(0, target.shape[0], per_chunk):
        rows = range(start, min(start + per_chunk, target.shape[0]))
        shape = (len(rows), *target.shape[1:])
        chunk = workspace[: row_bytes * len(rows)].view(dtype).view(shape)
        gradient = row_kernel(bind, replace(gradient_call, writes=(chunk,)), rows)
        arguments = [
            _narrow(argument, target.shape, rows)
            for argument in substitute(update_arguments, chunk)
        ]
        if update_target == "memplan.sgd_int8":
            arguments[3] = _scales(call, arguments[3], target, rows)
        update_call = replace(
            call,
            target=update_target,
            arguments=tuple(arguments),
            mutates=tuple(_narrow(tensor, target.shape, rows) for tensor in call.mutates),
            # The chunk of the gradient is free once Adam has taken its moments.
            workspace=chunk.view(-1).view(torch.uint8),
        )
        if update_target == "memplan.adam":
            update = adam(update_call, count_step=start == 0)
        else:
            update = bind(update_call)
        parts.append((rows.start, chunk, gradient, update))
    state, parameter = call.state, call.parameter or ""
    accumulates = update_target == "memplan.accumulate"

    def run() -> None:
        observe = None if accumulates else state.on_gradient_rows
        for start, chunk, gradient, update in parts:
            gradient()
            if observe is not None:
                observe(parameter, start, chunk)
            update()

    return run


def _narrow(argument: Any, shape: torch.Size, rows: range) -> Any:
    if isinstance(argument, torch.Tensor) and argument.shape == shape:
        return argument.narrow(0, rows.start, len(rows))
    return argument


def _scales(call: Call, scales: torch.Tensor, target: torch.Tensor, rows: range) -> torch.Tensor:
    if scales.numel() == target.shape[0]:
        return scales[rows.start : rows.stop]
    return scales_of_rows(call, scales, rows)


def _whole(bind: Kernel, call: Call, rows: range) -> Run:
    return bind(call)


def _linear(bind: Kernel, call: Call, rows: range) -> Run:
    gy, x = call.arguments
    gy, update = _rows_of_outputs(call, gy, rows)
    return bind(replace(call, arguments=(gy, x), update=update))


def _convolution(bind: Kernel, call: Call, rows: range) -> Run:
    gy, x, weight_shape, *rest = call.arguments
    (out,) = call.writes
    if out.dim() != len(weight_shape):  # a scale per channel, computed as a depthwise kernel
        call = replace(call, writes=(out.view(len(rows), *weight_shape[1:]),))
    geometry = Geometry.of(rest[:6])
    shape = [len(rows), *weight_shape[1:]]
    if geometry.transposed:
        # Rows are input channels.
        if geometry.groups > 1:
            raise call.fail("a grouped transposed convolution has no gradient in parts")
        update = call.update
        if call.axis == "input":
            if x.shape[1] != len(call.channels):
                raise call.fail("x must be the gathered slice")
            update = _with_channels(call, call.channels[rows.start : rows.stop])
        x = x.narrow(1, rows.start, len(rows))
        return bind(replace(call, arguments=(gy, x, shape, *rest), update=update))
    if geometry.groups == 1:
        gy, update = _rows_of_outputs(call, gy, rows)
        return bind(replace(call, arguments=(gy, x, shape, *rest), update=update))
    # Grouped: rows are output channels by index, each group by itself.
    chosen = call.channels if call.axis is not None else range(weight_shape[0])
    update = _with_channels(call, tuple(chosen[rows.start : rows.stop]), "output")
    if weight_shape[0] == geometry.groups and weight_shape[1] == 1:
        if x.shape[1] != geometry.groups:
            x = x.narrow(1, rows.start, len(rows))
        full = [weight_shape[0], *weight_shape[1:]]
        return bind(replace(call, arguments=(gy, x, full, *rest), update=update))
    return bind(replace(call, arguments=(gy, x, weight_shape, *rest), update=update))


def _embedding(bind: Kernel, call: Call, rows: range) -> Run:
    gy, indices, num_weights, padding = call.arguments
    (out,) = call.writes
    whole = len(rows) == num_weights

    def table(gy: torch.Tensor) -> Run:
        return bind_table_gradient(gy, indices, padding, rows, whole, out)

    if call.axis == "output" and gy.shape[-1] != len(call.channels):
        return with_channels(gy, gy.dim() - 1, call.channels, table)
    return table(gy)


def _rows_of_outputs(call: Call, gy: torch.Tensor, rows: range) -> tuple[torch.Tensor, Any]:
    """Return ``gy`` and the mask that give these rows, where rows are output channels."""
    if call.axis == "output":
        return gy, _with_channels(call, call.channels[rows.start : rows.stop])
    return gy.narrow(1, rows.start, len(rows)), call.update


def _with_channels(call: Call, channels: tuple[int, ...], axis: Any = None) -> Any:
    if call.update is None:
        raise call.fail("a gradient needs the mask of its layer")
    weight = axis or call.update.weight
    return call.update.model_copy(update={"weight": weight, "channels": tuple(channels)})


_ROWS: Mapping[str, RowKernel] = {
    "memplan.conv_weight_gradient": _convolution,
    "memplan.conv_weight_gradient_int8x": _convolution,
    "memplan.embedding_weight_gradient": _embedding,
    "memplan.linear_weight_gradient": _linear,
}
