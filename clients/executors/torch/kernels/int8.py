"""Operations on int8 tensors, in exact integer arithmetic (``ir.fixed_point``).

Products are summed in floating point where every partial sum is a whole number that the type
holds exactly, whatever the order: float32 up to 2**24, else float64.  Rescaling is done in int64.
"""

from __future__ import annotations

from typing import Any

import torch

from memplan.clients.executors.torch.kernels.call import Call, Run
from memplan.ir.fixed_point import INT8_HIGH, INT8_LOW, MOST_WEIGHT

__all__ = [
    "add_int8",
    "avg_pool_int8",
    "conv_int8",
    "dequantize",
    "dequantized",
    "mean_int8",
    "quantize",
]

_EXACT_FLOAT32 = 2**24
_RANGE = INT8_HIGH - INT8_LOW


def conv_int8(call: Call) -> Run:
    """``memplan.conv_int8(x, w, bias, stride, ..., groups, multipliers, shifts, ...)``."""
    x, w, bias, stride, padding, dilation, groups, multipliers, shifts, *rest = call.arguments
    x_zero_point, *limits = rest
    (out,) = call.writes
    dtype = _exact_type(w[0].numel() * _RANGE * MOST_WEIGHT)
    shape = (-1, *[1] * (x.dim() - 2))
    factors = multipliers.long().view(shape)
    places = shifts.long().view(shape)
    halves = torch.ones_like(places) << (places - 1)

    def run() -> None:
        centred = x.to(dtype) - x_zero_point
        products = torch.convolution(
            centred, w.to(dtype), None, stride, padding, dilation, False, [0] * len(stride), groups
        )
        sums = products.long()
        if bias is not None:
            sums += bias.long().view(shape)
        _store(out, ((sums * factors) + halves) >> places, *limits)

    return run


def add_int8(call: Call) -> Run:
    """``memplan.add_int8(a, b, a_zero_point, b_zero_point, a_multiplier, b_multiplier, ...)``."""
    a, b, a_zero, b_zero, a_factor, b_factor, shift, *limits = call.arguments
    (out,) = call.writes

    def run() -> None:
        total = (a.long() - a_zero) * a_factor + (b.long() - b_zero) * b_factor
        _store(out, _rescaled(total, 1, shift), *limits)

    return run


def mean_int8(call: Call) -> Run:
    """``memplan.mean_int8(x, dims, keepdim, multiplier, shift, x_zero_point, ...)``."""
    x, dims, keepdim, multiplier, shift, x_zero_point, *limits = call.arguments
    (out,) = call.writes

    def run() -> None:
        total = (x.long() - x_zero_point).sum(dims, keepdim=keepdim)
        _store(out, _rescaled(total, multiplier, shift), *limits)

    return run


def avg_pool_int8(call: Call) -> Run:
    """``memplan.avg_pool_int8(x, kernel, stride, padding, multiplier, shift, ...)``."""
    x, kernel, stride, padding, multiplier, shift, x_zero_point, *limits = call.arguments
    (out,) = call.writes
    dtype = _exact_type(kernel[0] * kernel[-1] * _RANGE)

    def run() -> None:
        centred = x.to(dtype) - x_zero_point
        total = torch.nn.functional.avg_pool2d(
            centred, kernel, stride, padding, divisor_override=1
        ).long()
        _store(out, _rescaled(total, multiplier, shift), *limits)

    return run


def quantize(call: Call) -> Run:
    """``memplan.quantize(x, scale, zero_point, low, high)``."""
    x, scale, zero_point, low, high = call.arguments
    (out,) = call.writes
    unit = torch.tensor(scale, dtype=torch.float32)

    def run() -> None:
        out.copy_((x / unit).round_().add_(zero_point).clamp_(low, high))

    return run


def dequantize(call: Call) -> Run:
    """``memplan.dequantize(x, scale, zero_point)``."""
    x, scale, zero_point = call.arguments
    (out,) = call.writes

    def run() -> None:
        out.copy_(dequantized(x, scale, zero_point))

    return run


def dequantized(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """Return what integers stand for, in float32."""
    return (x.float() - zero_point).mul_(torch.tensor(scale, dtype=torch.float32))


def _rescaled(value: torch.Tensor, multiplier: int, shift: int) -> torch.Tensor:
    return (value * multiplier + (1 << (shift - 1))) >> shift


def _store(out: torch.Tensor, value: torch.Tensor, zero_point: int, low: int, high: int) -> None:
    out.copy_((value + zero_point).clamp_(low, high))


def _exact_type(largest: int) -> Any:
    return torch.float32 if largest <= _EXACT_FLOAT32 else torch.float64
