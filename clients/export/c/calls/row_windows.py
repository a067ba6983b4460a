"""Rows of convolutions and pools: from pointers to the rows below to one row of the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from memplan.clients.export.c.call import Call, UnsupportedError, floats
from memplan.clients.export.c.calls.convolution import convolution
from memplan.clients.export.c.calls.images import Movement, convolution_geometry
from memplan.clients.export.c.calls.int8 import integers, mean_int8_fields
from memplan.clients.export.c.calls.int8_convolution import conv_int8_geometry, conv_int8_weights
from memplan.clients.export.c.calls.pooling import average_geometry, maximum_geometry
from memplan.clients.export.c.calls.row_places import ROW, Rows
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import C_TYPES
from memplan.ir.row_strips import StripEntry

__all__ = ["WINDOWED", "Windowed"]

#: (call of the entry, entry, rows of its operand, of its result, constants) -> statements.
#: The call's first argument and its result are rows ``ROW``, all other operands are whole.
Windowed = Callable[[Call, StripEntry, Rows, Rows, Code], list[str]]


def _lines_below(entry: StripEntry, x: Rows) -> list[str]:
    """Return statements that fill ``lines``: where each row of the window lies, NULL: padding."""
    window = entry.window
    c_type = C_TYPES[x.first.dtype]
    if window.kernel == 1 and not window.padding and window.stride == 1:
        return [f"const {c_type} *lines[1] = {{{x.at().pointer}}};"]
    terms = [ROW if window.stride == 1 else f"{ROW} * {window.stride}"]
    if window.kernel > 1:
        terms.append("k" if window.dilation == 1 else f"k * {window.dilation}")
    place = " + ".join(terms) + (f" - {window.padding}" if window.padding else "")
    row = f"h < 0 || h >= {x.height} ? NULL : {x.at('h').pointer}"
    return [
        f"const {c_type} *lines[{window.kernel}];",
        f"for (int32_t k = 0; k < {window.kernel}; ++k) {{",
        f"    const int32_t h = {place};",
        f"    lines[k] = {row};",
        "}",
    ]


def _convolution(call: Call, entry: StripEntry, x: Rows, y: Rows, code: Code) -> list[str]:
    w, bias = call.arguments[1:3]
    movement = Movement.of(call.arguments[3:])
    kernel = (w.shape[2], w.shape[3])
    if movement.is_pointwise(kernel):
        return convolution(call, code)
    floats(x.first, w, bias, y.first)
    code.use("row_convolution")
    depthwise = movement.groups > 1 and w.shape[:2] == (movement.groups, 1)
    kind = "depthwise" if depthwise else "convolution"
    geometry = convolution_geometry(
        code, identifier(call.operation), x.at(), y.at(), kernel, movement, w.shape[0]
    )
    return [
        *_lines_below(entry, x),
        f"memplan_{kind}_row({geometry}, lines,",
        f"    {code.weight(w, call.operation)},",
        f"    {'NULL' if bias is None else bias.pointer}, {y.at().pointer});",
    ]


def _max_pool(call: Call, entry: StripEntry, x: Rows, y: Rows, code: Code) -> list[str]:
    if x.first.dtype != y.first.dtype or x.first.dtype not in ("float32", "int8"):
        raise UnsupportedError(f"a maximum of {x.first.dtype}")
    kind = "_int8" if x.first.dtype == "int8" else ""
    geometry = maximum_geometry(call, code, *_shapes(x, y), list(call.arguments[1:]))
    code.use("row_pooling")
    return [
        *_lines_below(entry, x),
        f"memplan_max_pool{kind}_row({geometry}, lines, {x.channel_step}, {y.at().pointer}, "
        f"{y.channel_step});",
    ]


def _average_pool(call: Call, entry: StripEntry, x: Rows, y: Rows, code: Code) -> list[str]:
    floats(x.first, y.first)
    geometry = average_geometry(call, code, *_shapes(x, y), call.arguments[1], call.arguments[2:])
    code.use("row_pooling")
    return [
        *_lines_below(entry, x),
        f"memplan_average_pool_row({geometry}, lines, {x.channel_step}, {ROW}, {y.at().pointer}, "
        f"{y.channel_step});",
    ]


def _convolution_int8(call: Call, entry: StripEntry, x: Rows, y: Rows, code: Code) -> list[str]:
    _, w, bias, stride, padding, dilation, groups, multipliers, shifts, *numbers = call.arguments
    integers(x.first, w, y.first)
    _shapes(x, y)
    movement = Movement.of((stride, padding, dilation, False, None, groups))
    hint = identifier(call.operation)
    code.use("int8_convolution")
    geometry = conv_int8_geometry(code, hint, x.at(), y.at(), w, movement, tuple(numbers))
    return [
        *_lines_below(entry, x),
        f"memplan_conv_int8_row({geometry},",
        f"    {conv_int8_weights(code, hint, w, bias, multipliers, shifts)},",
        f"    lines, {x.channel_step}, {y.at().pointer}, {y.channel_step});",
    ]


def _average_pool_int8(call: Call, entry: StripEntry, x: Rows, y: Rows, code: Code) -> list[str]:
    _, kernel, stride, padding, *numbers = call.arguments
    integers(x.first, y.first)
    hint = identifier(call.operation)
    geometry = average_geometry(call, code, *_shapes(x, y), kernel, (stride, padding))
    mean = code.struct("memplan_mean_int8", f"{hint}_mean", mean_int8_fields(numbers))
    code.use("row_pooling")
    return [
        *_lines_below(entry, x),
        f"memplan_average_pool_int8_row({geometry}, {mean}, lines, {x.channel_step}, "
        f"{y.at().pointer}, {y.channel_step});",
    ]


def _shapes(x: Rows, y: Rows) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return (planes, rows, columns) of a pool's image and of its result."""
    if x.first.strides[3] != 1 or y.first.strides[3] != 1:
        raise UnsupportedError("rows with gaps between their pixels")
    planes, width = x.first.shape[1], x.first.shape[3]
    return (planes, x.height, width), (y.first.shape[1], y.height, y.first.shape[3])


#: Operations that need rows around the one that they compute, or mix channels.
WINDOWED: Mapping[str, Windowed] = {
    "aten.avg_pool2d.default": _average_pool,
    "aten.convolution.default": _convolution,
    "aten.max_pool2d.default": _max_pool,
    "memplan.avg_pool_int8": _average_pool_int8,
    "memplan.conv_int8": _convolution_int8,
}
