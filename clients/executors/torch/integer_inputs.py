"""A user's float samples as the integers that an int8 graph takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from memplan.ir.fixed_point import INT8_HIGH, INT8_LOW
from memplan.ir.graph import OpGraph

__all__ = ["integer_inputs"]


def integer_inputs(graph: OpGraph, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return inputs with floats quantized by the scale and zero point that the graph states.

    Integers, and inputs that the graph takes as floats, pass unchanged.
    """
    result = dict(inputs)
    for tensor in graph.tensors:
        value = result.get(tensor.id)
        known = tensor.quantization
        if tensor.role != "input" or known is None or value is None:
            continue
        if value.is_floating_point():
            unit = torch.tensor(known.scale, dtype=torch.float32)
            whole = (value.float() / unit).round_().add_(known.zero_point)
            result[tensor.id] = whole.clamp_(INT8_LOW, INT8_HIGH).to(torch.int8)
    return result
