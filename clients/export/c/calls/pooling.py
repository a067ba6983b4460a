"""Averages and maxima over windows, and their gradients."""

from __future__ import annotations

from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.code import Code
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = [
    "average_geometry",
    "avg_pool2d",
    "avg_pool2d_backward",
    "max_pool2d",
    "max_pool_input_gradient",
    "max_pool_positions",
    "maximum_geometry",
]


def avg_pool2d(call: Call, code: Code) -> list[str]:
    """``aten.avg_pool2d(x, kernel, stride, padding, ceil, count_include_pad, divisor)``."""
    x, kernel = call.arguments[:2]
    (out,) = call.writes
    floats(x, out)
    dense(x, out)
    geometry = average_geometry(call, code, x.shape, out.shape, kernel, call.arguments[2:])
    return [f"memplan_average_pool({geometry}, {x.pointer}, {out.pointer});"]


def avg_pool2d_backward(call: Call, code: Code) -> list[str]:
    """``aten.avg_pool2d_backward(gy, x, kernel, stride, padding, ceil, include, divisor)``."""
    gy, _, kernel = call.arguments[:3]
    (out,) = call.writes
    floats(gy, out)
    dense(gy, out)
    geometry = average_geometry(call, code, out.shape, gy.shape, kernel, call.arguments[3:])
    return [f"memplan_average_pool_gradient({geometry}, {gy.pointer}, {out.pointer});"]


def max_pool2d(call: Call, code: Code) -> list[str]:
    """``aten.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)``."""
    x, *windows = call.arguments
    (out,) = call.writes
    dense(x, out)
    geometry = maximum_geometry(call, code, x.shape, out.shape, windows)
    kind = _element_kind(code, x, out)
    return [f"memplan_max_pool{kind}({geometry}, {x.pointer}, {out.pointer});"]


def max_pool_positions(call: Call, code: Code) -> list[str]:
    """``memplan.max_pool_positions(x, kernel, stride, padding, dilation, ceil_mode)``."""
    x, *windows = call.arguments
    (out,) = call.writes
    dense(x, out)
    geometry = maximum_geometry(call, code, x.shape, out.shape, windows)
    kind = _element_kind(code, x)
    return [f"memplan_max_pool_positions{kind}({geometry}, {x.pointer}, {out.pointer});"]


def max_pool_input_gradient(call: Call, code: Code) -> list[str]:
    """``memplan.max_pool_input_gradient(gy, positions, input_shape, kernel, ...)``."""
    gy, positions, _, *windows = call.arguments
    (out,) = call.writes
    floats(gy, out)
    dense(gy, positions, out)
    geometry = maximum_geometry(call, code, out.shape, gy.shape, windows)
    return [
        f"memplan_max_pool_gradient({geometry}, {gy.pointer}, {positions.pointer}, {out.pointer});"
    ]


def _element_kind(code: Code, *views: View) -> str:
    """Return how the name of a kernel for these operands ends."""
    if all(view.dtype == "int8" for view in views):
        code.use("int8_pooling")
        return "_int8"
    floats(*views)
    return ""


def average_geometry(
    call: Call,
    code: Code,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    kernel: Any,
    rest: tuple[Any, ...],
) -> str:
    """Return the constant of an average over windows; ``rest``: arguments behind the kernel."""
    defaults: tuple[Any, ...] = ((), (0, 0), False, True, None)
    stride, padding, _, include, divisor = (*rest, *defaults[len(rest) :])
    windows = [kernel, stride or kernel, padding, (1, 1)]
    extra = {"counts_padding": int(include), "divisor": divisor or 0}
    return _pool(call, code, inputs, outputs, windows, extra)


def maximum_geometry(
    call: Call, code: Code, inputs: tuple[int, ...], outputs: tuple[int, ...], windows: list[Any]
) -> str:
    """Return the constant of a maximum over windows, given by the arguments behind the image."""
    kernel = windows[0]
    defaults: tuple[Any, ...] = (kernel, (), (0, 0), (1, 1))
    full = [*windows[:4], *defaults[len(windows) :]]
    full[1] = full[1] or kernel
    return _pool(call, code, inputs, outputs, full, {})


def _pool(
    call: Call,
    code: Code,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    windows: list[Any],
    extra: dict[str, int],
) -> str:
    pairs = [_pair(sizes) for sizes in windows]
    if len(inputs) < 2 or inputs[:-2] != outputs[:-2]:
        raise UnsupportedError(f"a pool from {inputs} to {outputs}")
    planes = 1
    for size in inputs[:-2]:
        planes *= size
    code.use("pooling")
    return code.struct(
        "memplan_pool",
        f"{identifier(call.operation)}_geometry",
        {
            "planes": planes,
            "input_height": inputs[-2], "input_width": inputs[-1],
            "output_height": outputs[-2], "output_width": outputs[-1],
            "kernel_height": pairs[0][0], "kernel_width": pairs[0][1],
            "stride_y": pairs[1][0], "stride_x": pairs[1][1],
            "padding_y": pairs[2][0], "padding_x": pairs[2][1],
            "dilation_y": pairs[3][0], "dilation_x": pairs[3][1],
            **extra,
        },
    )  # fmt: skip


def _pair(sizes: Any) -> tuple[int, int]:
    if len(sizes) not in (1, 2):
        raise UnsupportedError(f"windows of {len(sizes)} dimensions")
    return sizes[0], sizes[-1]
