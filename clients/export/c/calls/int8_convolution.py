"""Convolutions of int8 images with int8 weights, and their gradients in float32."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, floats, whole
from memplan.clients.export.c.calls.images import (
    Movement,
    convolution_fields,
    convolution_geometry,
    flattened,
    image,
    is_flat,
    missing,
    pair,
)
from memplan.clients.export.c.calls.int8 import int8_range, integers
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import Geometry, View

__all__ = [
    "conv_input_gradient_int8w",
    "conv_int8",
    "conv_int8_geometry",
    "conv_int8_weights",
    "conv_weight_gradient_int8x_rows",
]

#: As in kernels/int8_convolution.h and kernels/int8_input_gradient.h.
_MOST_ROWS = 32
_MOST_OF_A_CHANNEL = 64


def conv_int8(call: Call, code: Code) -> list[str]:
    """``memplan.conv_int8(x, w, bias, stride, padding, dilation, groups, multipliers, ...)``."""
    x, w, bias, stride, padding, dilation, groups, multipliers, shifts, *numbers = call.arguments
    (out,) = call.writes
    integers(x, w, out)
    movement = Movement.of((stride, padding, dilation, False, None, groups))
    x, w, out = image(x), image(w), image(out)
    if movement.is_pointwise((w.shape[2], w.shape[3])) and is_flat(x) and is_flat(out):
        x, out = _line(x), _line(out)
    for view in (x, out):
        if view.strides[3] != 1 and view.shape[3] > 1:
            raise UnsupportedError(f"pixels that are {view.strides[3]} elements apart")
    code.use("int8_convolution")
    hint = identifier(call.operation)
    geometry = conv_int8_geometry(code, hint, x, out, w, movement, tuple(numbers))
    weights = conv_int8_weights(code, hint, w, bias, multipliers, shifts)
    return [
        f"memplan_conv_int8({geometry},",
        f"    {weights},",
        f"    {x.pointer}, {out.pointer});",
    ]


def conv_int8_geometry(
    code: Code,
    hint: str,
    x: View,
    y: View,
    w: View,
    movement: Movement,
    numbers: tuple[int, ...],
) -> str:
    """Return the constant of an int8 convolution.

    Args:
        code: where it goes.
        hint: what it is named after.
        x: the image.
        y: the result.
        w: the weight.
        movement: how it goes over the image.
        numbers: x_zero_point, y_zero_point, low, high.

    Raises:
        UnsupportedError: the kernel is too high.
    """
    if w.shape[2] > _MOST_ROWS:
        raise UnsupportedError(f"an int8 kernel of {w.shape[2]} rows (at most {_MOST_ROWS})")
    x_zero_point, *limits = numbers
    shape = convolution_fields(x, y, (w.shape[2], w.shape[3]), movement, w.shape[0])
    fields = {"shape": shape, "x_zero_point": x_zero_point, "y": int8_range(*limits)}
    return code.struct("memplan_conv_int8", f"{hint}_geometry", fields)


def conv_int8_weights(
    code: Code, hint: str, w: View, bias: View | None, multipliers: View, shifts: View
) -> str:
    """Return a compound literal of ``memplan_conv_int8_weights``."""
    whole(bias, multipliers, shifts)
    if bias is not None and bias.dtype != "int32":
        raise UnsupportedError(f"a bias of type {bias.dtype}")
    start = "" if bias is None else f".bias = {bias.pointer}, "
    return (
        f"&(const struct memplan_conv_int8_weights){{.weight = {_value(code.weight(w, hint))}, "
        f"{start}.multipliers = {multipliers.pointer}, .shifts = {shifts.pointer}}}"
    )


def conv_input_gradient_int8w(call: Call, code: Code) -> list[str]:
    """``memplan.conv_input_gradient_int8w(gy, w, input_shape, ..., groups, scales)``."""
    gy, w, _, *movements, scales = call.arguments
    (out,) = call.writes
    floats(gy, scales, out)
    integers(w)
    whole(scales)
    movement = Movement.of(movements)
    if movement.transposed:
        raise UnsupportedError("a transposed convolution of integers")
    gy, w, out = image(gy), image(w), image(out)
    kernel = (w.shape[2], w.shape[3])
    if movement.is_pointwise(kernel) and is_flat(gy) and is_flat(out):
        gy, out = _line(gy), _line(out)
    code.use("int8_input_gradient")
    hint = identifier(call.operation)
    geometry = convolution_geometry(code, hint, out, gy, kernel, movement, w.shape[0])
    weight = (
        f"&(const struct memplan_scaled_int8){{.weight = {_value(code.weight(w, hint))}, "
        f".scales = {scales.pointer}}}"
    )
    depthwise = movement.groups > 1 and w.shape[:2] == (movement.groups, 1)
    small = kernel[0] * kernel[1] <= _MOST_OF_A_CHANNEL
    kind = "depthwise" if depthwise and small else "conv"
    return [
        f"memplan_{kind}_int8_input_gradient({geometry}, {gy.pointer},",
        f"    {weight},",
        f"    {out.pointer});",
    ]


def conv_weight_gradient_int8x_rows(
    call: Call, code: Code, out: str, first: str, count: str
) -> list[str]:
    """``memplan.conv_weight_gradient_int8x(gy, x, weight_shape, ...)``: rows of the gradient.

    Args:
        call: the gradient.
        code: where constants go.
        out: C expression of where the rows go.
        first: C expression of the first row, among those that the mask takes.
        count: C expression of the number of rows.
    """
    gy, x, weight_shape, *movements, scale, zero_point = call.arguments
    movement = Movement.of(movements)
    if movement.transposed:
        raise UnsupportedError("a transposed convolution of integers")
    floats(gy)
    integers(x)
    gy, x = image(gy), image(x)
    kernel = pair(weight_shape[2:], 1)
    hint = identifier(call.operation)
    outputs, inputs = gy.shape[1], weight_shape[1]
    depthwise = movement.groups > 1 and weight_shape[0] == movement.groups and inputs == 1
    output_channels = input_channels = None
    in_x = code.channels(f"{hint}_inputs", None, "0", str(inputs))
    if depthwise:
        chosen = call.channels if call.axis is not None else None
        output_channels = missing(gy, chosen)
        in_x = code.channels(f"{hint}_inputs", missing(x, chosen), first, count)
    elif call.axis == "output":
        output_channels = missing(gy, call.channels)
    elif call.axis == "input":
        if movement.groups > 1:
            raise UnsupportedError("a grouped convolution cut along its input channels")
        input_channels = missing(x, call.channels)
        in_x = code.channels(f"{hint}_inputs", input_channels, "0", str(len(call.channels)))
    in_gy = code.channels(hint, output_channels, first, count)
    if movement.is_pointwise(kernel) and is_flat(gy) and is_flat(x):
        gy, x = _line(gy), _line(x)
    code.use("int8_weight_gradient")
    geometry = convolution_geometry(code, hint, x, gy, kernel, movement, outputs)
    source = (
        f"&(const struct memplan_int8_image){{.x = {x.pointer}, .scale = {number(scale)}, "
        f".zero_point = {zero_point}}}"
    )
    kind = "depthwise" if depthwise else "conv"
    return [
        f"memplan_{kind}_int8_weight_gradient({geometry}, {gy.pointer},",
        f"    {source},",
        f"    {in_gy}, {in_x}, {out});",
    ]


def _value(literal: str) -> str:
    """Return what a compound literal's address points to, as an initializer."""
    return literal[literal.index("{") :]


def _line(view: View) -> View:
    """Return a flat image with its pixels in one row."""
    flat = flattened(view)
    (n, c, pixels), (sample, channel, pixel) = flat.shape, flat.strides
    geometry = Geometry((n, c, 1, pixels), (sample, channel, 0, pixel), flat.geometry.offset)
    return View(flat.base, flat.dtype, geometry, flat.split, flat.skip)
