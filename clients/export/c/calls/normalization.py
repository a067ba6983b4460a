"""Layer norm and its gradients one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from memplan.clients.export.c.call import Call, dense, floats, whole
from memplan.clients.export.c.calls.reduction import reduce
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.views import Geometry, View

__all__ = [
    "layer_norm",
    "layer_norm_bias_gradient",
    "layer_norm_input_gradient",
    "layer_norm_weight_gradient",
]


def layer_norm(call: Call, code: Code) -> list[str]:
    """``aten.native_layer_norm(x, shape, weight, bias, epsilon)`` -> y, mean, rstd."""
    x, shape, weight, bias, epsilon = call.arguments
    y, mean, rstd = call.writes
    rows, length = _checked(code, x, shape, weight, bias, y, mean, rstd)
    return [
        f"memplan_layer_norm({x.pointer}, {_pointer(weight)}, {_pointer(bias)}, {rows}, {length}, "
        f"{number(epsilon)},",
        f"    {y.pointer}, {mean.pointer}, {rstd.pointer});",
    ]


def layer_norm_input_gradient(call: Call, code: Code) -> list[str]:
    """``memplan.layer_norm_input_gradient(gy, x, mean, rstd, weight | None, shape)``."""
    gy, x, mean, rstd, weight, shape = call.arguments
    (out,) = call.writes
    rows, length = _checked(code, x, shape, weight, gy, mean, rstd, out)
    return [
        f"memplan_layer_norm_input_gradient({gy.pointer}, {x.pointer}, {mean.pointer}, "
        f"{rstd.pointer},",
        f"    {_pointer(weight)}, {rows}, {length}, {out.pointer});",
    ]


def layer_norm_weight_gradient(call: Call, code: Code) -> list[str]:
    """``memplan.layer_norm_weight_gradient(gy, x, mean, rstd, shape)``."""
    gy, x, mean, rstd, shape = call.arguments
    (out,) = call.writes
    rows, length = _checked(code, x, shape, gy, mean, rstd, out)
    return [
        f"memplan_layer_norm_weight_gradient({gy.pointer}, {x.pointer}, {mean.pointer}, "
        f"{rstd.pointer},",
        f"    {rows}, {length}, {out.pointer});",
    ]


def layer_norm_bias_gradient(call: Call, code: Code) -> list[str]:
    """``memplan.layer_norm_bias_gradient(gy, shape)``."""
    gy, shape = call.arguments
    rows = len(gy.shape) - len(shape)
    # A dimension of one element stands for the rows where there are none.
    geometry = Geometry((1, *gy.shape), (0, *gy.strides), gy.geometry.offset)
    deeper = replace(gy, geometry=geometry)
    return reduce(call, code, deeper, range(rows + 1), mean=False)


def _checked(code: Code, x: View, shape: Any, *views: View | None) -> tuple[int, int]:
    floats(x, *views)
    dense(x, *views)
    whole(*views)
    code.use("normalization")
    length = math.prod(shape)
    return x.count // length, length


def _pointer(view: View | None) -> str:
    return "NULL" if view is None else view.pointer
