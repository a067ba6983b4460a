"""Single elements, sums and means of int8 tensors."""

from __future__ import annotations

from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError, dense, floats
from memplan.clients.export.c.calls.pooling import average_geometry
from memplan.clients.export.c.calls.reduction import reduction
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import element_loop
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = [
    "add_int8",
    "avg_pool_int8",
    "dequantize",
    "int8_range",
    "integers",
    "mean_int8",
    "quantize",
    "range_backward",
]


def integers(*views: View) -> None:
    """Refuse operands that are not int8."""
    for view in views:
        if view.dtype != "int8":
            raise UnsupportedError(f"operands of type {view.dtype} among integers")


def int8_range(zero_point: int, low: int, high: int) -> dict[str, object]:
    """Return the fields of a ``memplan_int8_range``."""
    return {"zero_point": zero_point, "low": low, "high": high}


def quantize(call: Call, code: Code) -> list[str]:
    """``memplan.quantize(x, scale, zero_point, low, high)``."""
    x, scale, *limits = call.arguments
    (out,) = call.writes
    floats(x)
    integers(out)
    code.use("int8_elementwise")
    hint = f"{identifier(call.operation)}_range"
    kept = code.struct("memplan_int8_range", hint, int8_range(*limits))
    unit = number(scale)
    return element_loop(out, [x], lambda e: ([], f"memplan_quantize({e[0]}, {unit}, {kept})"))


def dequantize(call: Call, code: Code) -> list[str]:
    """``memplan.dequantize(x, scale, zero_point)``."""
    x, scale, zero_point = call.arguments
    (out,) = call.writes
    integers(x)
    floats(out)
    code.use("int8_elementwise")
    rest = f"{number(scale)}, {zero_point}"
    return element_loop(out, [x], lambda e: ([], f"memplan_dequantize({e[0]}, {rest})"))


def add_int8(call: Call, code: Code) -> list[str]:
    """``memplan.add_int8(a, b, a_zero_point, b_zero_point, a_multiplier, b_multiplier, ...)``."""
    a, b, *numbers = call.arguments
    (out,) = call.writes
    integers(a, b, out)
    code.use("int8_elementwise")
    settings = code.struct(
        "memplan_add_int8", f"{identifier(call.operation)}_sum", add_int8_fields(numbers)
    )
    return element_loop(
        out, [a, b], lambda e: ([], f"memplan_add_int8({settings}, {e[0]}, {e[1]})")
    )


def add_int8_fields(numbers: Any) -> dict[str, object]:
    """Return the fields of a ``memplan_add_int8`` from the arguments behind the operands."""
    a_zero, b_zero, a_multiplier, b_multiplier, shift, *limits = numbers
    return {
        "a_zero_point": a_zero, "b_zero_point": b_zero,
        "a_multiplier": a_multiplier, "b_multiplier": b_multiplier, "shift": shift,
        "y": int8_range(*limits),
    }  # fmt: skip


def range_backward(call: Call, code: Code) -> list[str]:
    """``memplan.range_backward(gy, y, low, high)``."""
    gy, y, low, high = call.arguments
    (out,) = call.writes
    floats(gy, out)
    integers(y)
    code.use("int8_elementwise")
    return element_loop(
        out, [gy, y], lambda e: ([], f"memplan_range_gradient({e[0]}, {e[1]}, {low}, {high})")
    )


def mean_int8(call: Call, code: Code) -> list[str]:
    """``memplan.mean_int8(x, dims, keepdim, multiplier, shift, x_zero_point, ...)``."""
    x, dims, _, *numbers = call.arguments
    (out,) = call.writes
    integers(x, out)
    dense(out)
    code.use("int8_pooling")
    hint = identifier(call.operation)
    geometry = reduction(code, hint, x, dims)
    mean = code.struct("memplan_mean_int8", f"{hint}_mean", mean_int8_fields(numbers))
    return [f"memplan_mean_int8({geometry}, {mean}, {x.pointer}, {out.pointer});"]


def avg_pool_int8(call: Call, code: Code) -> list[str]:
    """``memplan.avg_pool_int8(x, kernel, stride, padding, multiplier, shift, ...)``."""
    x, kernel, stride, padding, *numbers = call.arguments
    (out,) = call.writes
    integers(x, out)
    dense(x, out)
    code.use("int8_pooling")
    geometry = average_geometry(call, code, x.shape, out.shape, kernel, (stride, padding))
    mean = code.struct(
        "memplan_mean_int8", f"{identifier(call.operation)}_mean", mean_int8_fields(numbers)
    )
    return [f"memplan_average_pool_int8({geometry}, {mean}, {x.pointer}, {out.pointer});"]


def mean_int8_fields(numbers: Any) -> dict[str, object]:
    """Return the fields of a ``memplan_mean_int8`` from the arguments that end with the limits."""
    multiplier, shift, x_zero_point, *limits = numbers
    return {
        "x_zero_point": x_zero_point, "multiplier": multiplier, "shift": shift,
        "y": int8_range(*limits),
    }  # fmt: skip


__all__ += ["add_int8_fields", "mean_int8_fields"]
