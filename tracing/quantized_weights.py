"""Integer weights, biases and tables of rescaling (``ir.graph.QuantizedStep``)."""

from __future__ import annotations

import torch

from memplan.ir.fixed_point import MOST_BIAS, MOST_WEIGHT, fixed_point
from memplan.ir.graph import QuantizedStep

__all__ = ["channel_scales", "quantized_value"]

#: Smallest scale of a channel relative to the largest.  What such a channel computes is below one
#: step of the result anyway, and a smaller scale would need biases beyond 32 bits.
_LEAST_RELATIVE = 2.0**-12


def quantized_value(step: QuantizedStep, value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Follow the step to integers.

    Args:
        value: the real parameter that the step belongs to.
        weight: the real weight that scales come from.

    Raises:
        ValueError: a value is not finite, or a factor cannot be written in fixed point.
    """
    if not bool(value.isfinite().all()) or not bool(weight.isfinite().all()):
        raise ValueError("it has values that are not finite, and cannot be quantized")
    scales = channel_scales(weight)
    if step.result == "scales":
        return scales
    if step.result == "weight":
        units = scales.double().view(-1, *[1] * (value.dim() - 1))
        return (value.double() / units).round().clamp(-MOST_WEIGHT, MOST_WEIGHT).to(torch.int8)
    if step.result == "bias":
        units = scales.double() * step.input_scale
        return (value.double() / units).round().clamp(-MOST_BIAS, MOST_BIAS).to(torch.int32)
    pairs = [
        fixed_point(step.input_scale * scale / step.output_scale)
        for scale in scales.double().tolist()
    ]
    if step.result == "multipliers":
        return torch.tensor([multiplier for multiplier, _ in pairs], dtype=torch.int32)
    return torch.tensor([shift for _, shift in pairs], dtype=torch.int8)


def channel_scales(weight: torch.Tensor) -> torch.Tensor:
    """Return the real size of one step of an int8 weight, per channel of dimension 0 (float32)."""
    largest = weight.double().abs().flatten(1).amax(1)
    top = largest.max()
    if not top > 0:
        return torch.ones(len(largest))
    return (largest.clamp(min=float(top) * _LEAST_RELATIVE) / MOST_WEIGHT).float()
