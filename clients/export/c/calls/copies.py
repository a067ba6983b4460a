"""Operations that only move values: copies, fills, padding, joining, gathered channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats, whole
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import element_loop
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import C_TYPES, Geometry, View

__all__ = [
    "cat",
    "constant_pad",
    "copy",
    "fill",
    "fill_with",
    "gather_channels",
    "select_backward",
    "slice_backward",
    "stack",
]


def copy(call: Call, code: Code) -> list[str]:
    """``aten.clone`` and ``aten._to_copy`` to the same element type."""
    (out,) = call.writes
    return _assign(out, call.arguments[0])


def fill(call: Call, code: Code) -> list[str]:
    """``aten.full``, ``aten.full_like``, ``aten.fill.Scalar``."""
    return _constant(call.writes[0], call.arguments[1])


def fill_with(value: float, call: Call, code: Code) -> list[str]:
    """``aten.zeros_like`` and its kin."""
    return _constant(call.writes[0], value)


def cat(call: Call, code: Code) -> list[str]:
    """``aten.cat(tensors, dim)``."""
    (out,) = call.writes
    dim = call.argument(1, 0) % len(out.shape)
    lines, start = [], 0
    for part in call.arguments[0]:
        lines += _block(_assign(_narrow(out, dim, start, part.shape[dim]), part))
        start += part.shape[dim]
    return lines


def stack(call: Call, code: Code) -> list[str]:
    """``aten.stack(tensors, dim)``."""
    (out,) = call.writes
    dim = call.argument(1, 0) % len(out.shape)
    lines = []
    for index, part in enumerate(call.arguments[0]):
        lines += _block(_assign(_select(out, dim, index), part))
    return lines


def constant_pad(call: Call, code: Code) -> list[str]:
    """``aten.constant_pad_nd(x, pad, value)``; negative padding crops."""
    x, pad = call.arguments[:2]
    value = call.argument(2, 0.0)
    (out,) = call.writes
    source, target = x, out
    for pair in range(len(pad) // 2):
        dim = len(x.shape) - 1 - pair
        before, after = pad[2 * pair], pad[2 * pair + 1]
        kept = source.shape[dim] + min(0, before) + min(0, after)
        source = _narrow(source, dim, max(0, -before), kept)
        target = _narrow(target, dim, max(0, before), kept)
    if target.shape == out.shape:
        return _assign(target, source)
    return _block(_constant(out, value)) + _block(_assign(target, source))


def select_backward(call: Call, code: Code) -> list[str]:
    """``aten.select_backward(gy, input_sizes, dim, index)``."""
    gy, sizes, dim, index = call.arguments
    (out,) = call.writes
    dim %= len(sizes)
    part = _select(out, dim, index % sizes[dim])
    return _block(_constant(out, 0)) + _block(_assign(part, gy))


def slice_backward(call: Call, code: Code) -> list[str]:
    """``aten.slice_backward(gy, input_sizes, dim, start, end, step)``."""
    gy, sizes, dim, start, end, step = call.arguments
    (out,) = call.writes
    dim %= len(sizes)
    positions = range(*slice(start, end, step).indices(sizes[dim]))
    if len(positions) != gy.shape[dim]:
        raise UnsupportedError(f"{gy.shape[dim]} elements for {len(positions)} places")
    strides = list(out.strides)
    first = positions[0] if positions else 0
    offset = out.geometry.offset + first * strides[dim]
    strides[dim] *= step
    part = replace(out, geometry=Geometry(gy.shape, tuple(strides), offset))
    return _block(_constant(out, 0)) + _block(_assign(part, gy))


def gather_channels(call: Call, code: Code) -> list[str]:
    """``memplan.gather_channels(x, dim)``."""
    x, dim = call.arguments
    (out,) = call.writes
    if call.axis is None:
        return _assign(out, x)
    if x.dtype != "int8" or out.dtype != "int8":
        floats(x, out)
    dense(out)
    dim %= len(x.shape)
    code.use("gather")
    hint = identifier(call.operation)
    outer, inner = _rows(x, dim)
    channels = call.channels
    fields = {
        "outer": outer[0], "outer_stride": outer[1], "channel_stride": x.strides[dim],
        "inner": inner[0], "inner_stride": inner[1],
    }  # fmt: skip
    geometry = code.struct("memplan_gather", f"{hint}_geometry", fields)
    chosen = code.channels(hint, channels, "0", str(len(channels)))
    kernel = "memplan_gather_int8" if x.dtype == "int8" else "memplan_gather"
    return [f"{kernel}({geometry}, {x.pointer},", f"    {chosen}, {out.pointer});"]


def _rows(x: View, dim: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (size, stride) of what stands before and behind a dimension."""
    return _joined(x.shape[:dim], x.strides[:dim]), _joined(
        x.shape[dim + 1 :], x.strides[dim + 1 :]
    )


def _joined(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    size, step = 1, 1
    for length, stride in reversed(list(zip(shape, strides, strict=True))):
        if length == 1:
            continue
        if size == 1:
            step = stride
        elif stride != step * size:
            raise UnsupportedError(f"channels of a tensor of shape {shape}, strides {strides}")
        size *= length
    return size, step


def _narrow(view: View, dim: int, start: int, length: int) -> View:
    shape = list(view.shape)
    shape[dim] = length
    offset = view.geometry.offset + start * view.strides[dim]
    return replace(view, geometry=Geometry(tuple(shape), view.strides, offset))


def _select(view: View, dim: int, index: int) -> View:
    part = _narrow(view, dim, index, 1)
    shape, strides = list(part.shape), list(part.strides)
    del shape[dim], strides[dim]
    return replace(part, geometry=Geometry(tuple(shape), tuple(strides), part.geometry.offset))


def _assign(out: View, x: View) -> list[str]:
    whole(x)
    if out.dtype != x.dtype:
        raise UnsupportedError(f"a copy from {x.dtype} to {out.dtype}")
    return element_loop(out, [x], lambda elements: ([], elements[0]))


def _constant(out: View, value: Any) -> list[str]:
    if out.dtype not in C_TYPES:
        raise UnsupportedError(f"operands of type {out.dtype}")
    literal = number(value) if out.dtype == "float32" else str(int(value))
    return element_loop(out, [], lambda elements: ([], literal))


def _block(lines: list[str]) -> list[str]:
    return ["{", *("    " + line for line in lines), "}"]


zeros = partial(fill_with, 0.0)
ones = partial(fill_with, 1.0)
__all__ += ["ones", "zeros"]
