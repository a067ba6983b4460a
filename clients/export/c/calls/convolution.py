"""Convolutions over one or two dimensions, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, floats
from memplan.clients.export.c.calls.linear import matmul, outer_product
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import Geometry, View

__all__ = [
    "Movement",
    "conv_input_gradient",
    "conv_weight_gradient_rows",
    "convolution",
    "convolution_geometry",
]


@dataclass(frozen=True, slots=True)
class Movement:
    """How a convolution moves over its input, in two dimensions."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    groups: int

    @classmethod
    def of(cls, arguments: Any) -> Movement:
        """Return what six arguments in ATen's order mean."""
        stride, padding, dilation, transposed, _, groups = arguments
        return cls(_pair(stride, 1), _pair(padding, 0), _pair(dilation, 1), transposed, groups)

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Tell whether it is one matrix product per sample."""
        return (
            self.groups == 1
            and kernel == (1, 1)
            and self.stride == (1, 1)
            and self.padding == (0, 0)
        )


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
    kernel = _pair(weight_shape[2:], 1)
    # Rows of the weight go through `left`, columns through `right`; of a transposed convolution
    # the output plays the input.
    left, right = (x, gy) if movement.transposed else (gy, x)
    left, right = _image(left), _image(right)
    row_axis, column_axis = ("input", "output") if movement.transposed else ("output", "input")
    rows, columns = weight_shape[0], weight_shape[1]
    hint = identifier(call.operation)
    depthwise = movement.groups > 1 and rows == movement.groups and columns == 1
    if depthwise:
        chosen = call.channels if call.axis is not None else None
        in_left = code.channels(hint, _missing(left, chosen), first, count)
        in_right = code.channels(hint, _missing(right, chosen), first, count)
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
        row_channels = _missing(left, call.channels)
    if call.axis == column_axis:
        column_channels = _missing(right, call.channels)
        columns = len(call.channels)
    outputs = code.channels(hint, row_channels, first, count)
    inputs = code.channels(f"{hint}_inputs", column_channels, "0", str(columns))
    if movement.is_pointwise(kernel) and _is_flat(left) and _is_flat(right):
        return outer_product(code, hint, _flattened(left), _flattened(right), outputs, inputs, out)
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
    x, w, out = _image(x), _image(w), _image(out)
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    if movement.is_pointwise(kernel) and _is_flat(x) and _is_flat(out):
        return matmul(code, hint, _flattened(x), w, (0, 1), bias, _flattened(out))
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
    gy, w, out = _image(gy), _image(w), _image(out)
    kernel = (w.shape[2], w.shape[3])
    hint = identifier(call.operation)
    if movement.is_pointwise(kernel) and _is_flat(gy) and _is_flat(out):
        return matmul(code, hint, _flattened(gy), w, (1, 0), bias, _flattened(out))
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


def convolution_geometry(
    code: Code,
    hint: str,
    x: View,
    y: View,
    kernel: tuple[int, int],
    movement: Movement,
    outputs: int,
) -> str:
    """Return the constant of a convolution of images ``x`` into images ``y``, with any strides."""
    return code.struct(
        "memplan_convolution",
        f"{hint}_geometry",
        {
            "samples": x.shape[0],
            "inputs": x.shape[1], "input_height": x.shape[2], "input_width": x.shape[3],
            "outputs": outputs, "output_height": y.shape[2], "output_width": y.shape[3],
            "kernel_height": kernel[0], "kernel_width": kernel[1],
            "stride_y": movement.stride[0], "stride_x": movement.stride[1],
            "padding_y": movement.padding[0], "padding_x": movement.padding[1],
            "dilation_y": movement.dilation[0], "dilation_x": movement.dilation[1],
            "groups": movement.groups,
            "input": x.strides, "output": y.strides,
        },
    )  # fmt: skip


def _missing(view: View, chosen: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the channels to pick from ``view``; None if it has these and no others."""
    return None if chosen is None or view.shape[1] == len(chosen) else chosen


def _pair(sizes: Any, default: int) -> tuple[int, int]:
    if len(sizes) > 2:
        raise UnsupportedError(f"windows of {len(sizes)} dimensions")
    return (default, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[-1])


def _image(view: View) -> View:
    """Return a view with height and width; a sequence has height 1."""
    if len(view.shape) == 4:
        return view
    if len(view.shape) != 3:
        raise UnsupportedError(f"an operand of shape {view.shape}")
    (a, b, c), (s, t, u), split = view.shape, view.strides, view.split
    geometry = Geometry((a, b, 1, c), (s, t, 0, u), view.geometry.offset)
    return View(view.base, view.dtype, geometry, split, view.skip)


def _is_flat(view: View) -> bool:
    """Tell whether the pixels of a plane are one sequence."""
    _, _, height, width = view.shape
    _, _, row, pixel = view.strides
    return height == 1 or row == width * pixel or (width == 1 and pixel <= 1)


def _flattened(view: View) -> View:
    """Return (samples, channels, pixels) of a flat image."""
    n, c, height, width = view.shape
    s, t, row, pixel = view.strides
    step = row if width == 1 and height > 1 else pixel
    geometry = Geometry((n, c, height * width), (s, t, step), view.geometry.offset)
    return View(view.base, view.dtype, geometry, view.split, view.skip)
