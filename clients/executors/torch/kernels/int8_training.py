"""Gradients against int8 weights and int8 saved inputs, and updates of integers.

Gradients are float32 in real units: integers become real numbers first, outside of the arena.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from memplan.clients.executors.torch.kernels.call import Call, Run
from memplan.clients.executors.torch.kernels.convolution import (
    conv_input_gradient,
    conv_weight_gradient,
)
from memplan.clients.executors.torch.kernels.int8 import dequantized
from memplan.ir.fixed_point import MOST_BIAS, MOST_WEIGHT

__all__ = [
    "conv_input_gradient_int8w",
    "conv_weight_gradient_int8x",
    "range_backward",
    "scales_of_rows",
    "sgd_int8",
]


def range_backward(call: Call) -> Run:
    """``memplan.range_backward(gy, y, low, high)``."""
    gy, y, low, high = call.arguments
    (out,) = call.writes
    zero = torch.zeros((), dtype=gy.dtype)

    def run() -> None:
        torch.where((y > low).logical_and_(y < high), gy, zero, out=out)

    return run


def conv_input_gradient_int8w(call: Call) -> Run:
    """``memplan.conv_input_gradient_int8w(gy, w, input_shape, ..., groups, scales)``."""
    gy, w, *rest, scales = call.arguments

    def run() -> None:
        weight = w.float().mul_(scales.view(-1, *[1] * (w.dim() - 1)))
        conv_input_gradient(replace(call, arguments=(gy, weight, *rest)))()

    return run


def conv_weight_gradient_int8x(call: Call) -> Run:
    """``memplan.conv_weight_gradient_int8x(gy, x, ..., groups, x_scale, x_zero_point)``."""
    gy, x, *rest, scale, zero_point = call.arguments

    def run() -> None:
        real = dequantized(x, scale, zero_point)
        conv_weight_gradient(replace(call, arguments=(gy, real, *rest)))()

    return run


def sgd_int8(call: Call) -> Run:
    """``memplan.sgd_int8(w, g, learning_rate, scales, factor, scaling)``."""
    w, g, learning_rate, scales, factor, scaling = call.arguments
    if scales.numel() != w.shape[0]:
        scales = scales_of_rows(call, scales, range(w.shape[0]))
    unit = scales * torch.tensor(factor, dtype=torch.float32)
    rate = torch.tensor(learning_rate, dtype=torch.float32)
    rates = (rate / unit if scaling else rate * unit).view(-1, *[1] * (w.dim() - 1))
    most = MOST_WEIGHT if w.dtype == torch.int8 else MOST_BIAS
    return partial(_step, w, g, rates, most)


def _step(w: torch.Tensor, g: torch.Tensor, rates: torch.Tensor, most: int) -> None:
    # float64 holds an int32 and a rounded float32 exactly; a step beyond the limits is the limit.
    steps = (g * rates).round_().double()
    w.copy_((w.double() - steps).clamp_(-most, most))


def scales_of_rows(call: Call, scales: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Return the scales of rows of a parameter, of which the arena may hold chosen channels."""
    chosen = call.channels if call.axis is not None and len(call.channels) else None
    if chosen is None:
        return scales[list(rows)]
    return scales[[chosen[row] for row in rows]]
