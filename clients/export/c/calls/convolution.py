"""Convolutions over one or two dimensions, and their gradients."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, floats
from memplan.clients.export.c.calls.images import (
    Movement,
    convolution_geometry,
    flattened,
    image,
    is_flat,
    missing,
    pair,
)
from memplan.clients.export.c.calls.linear import matmul, outer_product
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = [
    "Movement",
    "conv_input_gradient",
    "conv_weight_gradient_rows",
    "convolution",
    "convolution_geometry",
]


def convolution(call: Call, code: Code) -> list[str]:
    """``aten.convolution(x, w, bias, stride, padding, dilation, transposed, ...)``."""
    x, w, bias = call.arguments[:3]
    (out,) = call.writes
    movement = Movement.of(call.arguments[3:])
    if movement.transposed:
        return _gradient_of_input(call, code, x, w, bias, out, movement)
    return _forward(call, code, x, w, bias, out, movement)


def conv_input_gradient(call: Call, code: Code) -> list[str]:
    """``memplan.conv_input_gradient(gy, w, input_shape, ...)``."""
    gy, w = call.arguments[:2]
    (out,) = call.writes
    movement = Movement.of(call.arguments[3:])
    if movement.transposed:
        return _forward(call, code, gy, w, None, out, movement)
    return _gradient_of_input(call, code, gy, w, None, out, movement)


def conv_weight_gradient_rows(
    call: Call, code: Code, out: str, first: str, count: str
) -> list[str]:
    """``memplan.conv_weight_gradient(gy, x, weight_shape, ...)``: rows of the gradient.

    Args:
        call: the gradient.
        code: where constants go.
        out: C expression of where the rows go.
        first: C expression of the first row, among those that the mask takes.
        count: C expression of the number of rows.
    """
    gy, x, weight_shape = call.arguments[:3]
    movement = Movement.of(call.arguments[3:])
    floats(gy, x)
    kernel = pair(weight_shape[2:], 1)
    # Rows of the weight go through `left`, columns through `right`; of a transposed convolution
    # the output plays the input.
    left, right = (x, gy) if movement.transposed else (gy, x)
    left, right = image(left), image(right)
    row_axis, column_axis = ("input", "output") if movement.transposed else ("output", "input")
    rows, columns = weight_shape[0], weight_shape[1]
    hint = identifier(call.operation)
    depthwise = movement.groups > 1 and rows == movement.groups and columns == 1
    if depthwise:
        chosen = call.channels if call.axis is not None else None
        in_left = code.channels(hint, missing(left, chosen), first, count)
        in_right = code.channels(hint, missing(right, chosen), first, count)
        code.use("depthwise")
        geometry = convolution_geometry(code, hint, right, left, kernel, movement, right.shape[1])
        return [
            f"memplan_depthwise_weight_gradient({geometry}, {left.pointer}, {right.pointer},",
            f"    {in_left}, {in_right}, {out});",
        ]
    if movement.groups > 1 and (call.axis == column_axis or movement.transposed):
        raise UnsupportedError("a grouped convolution cut along its input channels")
    row_channels = column_channels = None
    if call.axis == row_axis:
        row_channels = missing(left, call.channels)
    if call.axis == column_axis:
        column_channels = missing(right, call.channels)
        columns = len(call.channels)
    outputs = code.channels(hint, row_channels, first, count)
    inputs = code.channels(f"{hint}_inputs", column_channels, "0", str(columns))
    if movement.is_pointwise(kernel) and is_flat(left) and is_flat(right):
        return outer_product(code, hint, flattened(left), flattened(right), outputs, inputs, out)
    code.use("convolution")
    geometry = convolution_geometry(code, hint, right, left, kernel, movement, left.shape[1])
    return [
        f"memplan_convolution_weight_gradient({geometry}, {left.pointer}, {right.pointer},",
        f"    {outputs}, {inputs}, {out});",
    ]


def _forward(
    call: Call, code: Code, x: View, w: View, bias: View | None, out: View, movement: Movement
) -> list[str]:
    floats(x, w, bias, out)
    x, w, out = image(x), image(w), image(out)
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    if movement.is_pointwise(kernel) and is_flat(x) and is_flat(out):
        return matmul(code, hint, flattened(x), w, (0, 1), bias, flattened(out))
    depthwise = movement.groups > 1 and w.shape[:2] == (movement.groups, 1)
    kind = "depthwise" if depthwise else "convolution"
    code.use(kind)
    geometry = convolution_geometry(code, hint, x, out, kernel, movement, w.shape[0])
    start = "NULL" if bias is None else bias.pointer
    return [
        f"memplan_{kind}({geometry}, {x.pointer},",
        f"    {code.weight(w, call.operation)},",
        f"    {start}, {out.pointer});",
    ]


def _gradient_of_input(
    call: Call, code: Code, gy: View, w: View, bias: View | None, out: View, movement: Movement
) -> list[str]:
    floats(gy, w, bias, out)
    gy, w, out = image(gy), image(w), image(out)
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    if movement.is_pointwise(kernel) and is_flat(gy) and is_flat(out):
        return matmul(code, hint, flattened(gy), w, (1, 0), bias, flattened(out))
    geometry = convolution_geometry(code, hint, out, gy, kernel, movement, w.shape[0])
    weight = code.weight(w, call.operation)
    if movement.groups > 1 and bias is None and w.shape[:2] == (movement.groups, 1):
        code.use("depthwise")
        return [
            f"memplan_depthwise_input_gradient({geometry}, {gy.pointer},",
            f"    {weight},",
            f"    {out.pointer});",
        ]
    code.use("convolution")
    start = "NULL" if bias is None else bias.pointer
    return [
        f"memplan_convolution_input_gradient({geometry}, {gy.pointer},",
        f"    {weight},",
        f"    {start}, {out.pointer});",
    ]
