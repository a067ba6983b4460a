"""Operations that only move values: copies, fills, padding, gathered channels."""

from __future__ import annotations

from functools import partial

import torch

from memplan.clients.executors.torch.kernels.aten import generic
from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = [
    "assign",
    "constant_pad_nd",
    "copy",
    "fill",
    "fill_constant",
    "gather_channels",
    "select_backward",
    "slice_backward",
]


def copy(call: Call) -> Run:
    """``aten.clone``, ``aten._to_copy``: the target's element type and strides are the result's."""
    return partial(call.writes[0].copy_, call.arguments[0])


def assign(call: Call) -> Run:
    """``aten.copy(before, assigned)``: the functional form of an assignment."""
    return partial(call.writes[0].copy_, call.arguments[1])


def fill(call: Call) -> Run:
    """``aten.full_like(x, value)``, ``aten.full(size, value)``, ``aten.fill(x, value)``."""
    return partial(call.writes[0].fill_, call.arguments[1])


def fill_constant(value: float, call: Call) -> Run:
    """``aten.zeros_like`` and its kin."""
    return partial(call.writes[0].fill_, value)


def constant_pad_nd(call: Call) -> Run:
    """``aten.constant_pad_nd(x, pad, value=0)``; negative padding crops."""
    x, pad, value = (*call.arguments, 0)[:3]
    (out,) = call.writes
    source, target = x, out
    for pair in range(len(pad) // 2):
        dim = x.dim() - 1 - pair
        before, after = pad[2 * pair], pad[2 * pair + 1]
        source = source.narrow(
            dim, max(0, -before), source.shape[dim] + min(0, before) + min(0, after)
        )
        target = target.narrow(dim, max(0, before), source.shape[dim])

    def run() -> None:
        out.fill_(value)
        target.copy_(source)

    return run


def select_backward(call: Call) -> Run:
    """``aten.select_backward(gy, input_sizes, dim, index)``."""
    gy, _, dim, index = call.arguments
    return _into(call.writes[0], call.writes[0].select(dim, index), gy)


def slice_backward(call: Call) -> Run:
    """``aten.slice_backward(gy, input_sizes, dim, start, end, step)``."""
    gy, sizes, dim, start, end, step = call.arguments
    length = sizes[dim]
    start, end = (bound + length if bound < 0 else bound for bound in (start, end))
    positions = range(min(start, length), min(end, length), step)
    if len(positions) != gy.shape[dim]:
        return generic(call)
    out = call.writes[0]
    if not positions:
        return partial(out.fill_, 0)
    strides = list(out.stride())
    strides[dim] *= step
    part = out.as_strided(gy.shape, strides, out.storage_offset() + positions[0] * out.stride(dim))
    return _into(out, part, gy)


def _into(out: torch.Tensor, part: torch.Tensor, values: torch.Tensor) -> Run:
    def run() -> None:
        out.zero_()
        part.copy_(values)

    return run


def gather_channels(call: Call) -> Run:
    """``memplan.gather_channels(x, dim)``."""
    x, dim = call.arguments
    (out,) = call.writes
    if call.axis is None:
        return copy(call)
    return partial(torch.index_select, x, dim, torch.tensor(call.channels), out=out)
