"""Weights with which a comparison means something.

Some models, fresh from their configuration, shrink every signal to 1e-35: all gradients vanish,
and whatever is compared agrees.  A plan does not depend on values, so it can be executed, and
compared, with other weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from memplan.ir.graph import OpGraph

__all__ = ["sound_weights"]

#: Gain of a layer followed by a ReLU (He et al. 2015), about.
_GAIN = 1.4
_SPREAD = 0.2


def sound_weights(
    graph: OpGraph, weights: Mapping[str, torch.Tensor], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return ``weights`` with seeded random parameters that keep signals at a sound size.

    Matrices and kernels are drawn with a standard deviation of ``1.4 / sqrt(fan in)``, scales
    around 1 and biases around 0 with 0.2.  States and constants stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    biases = {layer.bias for layer in graph.layers if layer.bias is not None}
    tables = {layer.weight for layer in graph.layers if layer.kind == "embedding"}
    drawn = dict(weights)
    for tensor in graph.tensors:
        value = weights.get(tensor.id)
        if tensor.role != "parameter" or value is None or not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator).to(value.dtype)
        if tensor.id in biases:
            drawn[tensor.id] = _SPREAD * noise
        elif value.dim() < 2:
            drawn[tensor.id] = 1 + _SPREAD * noise
        elif tensor.id in tables:
            drawn[tensor.id] = noise
        else:
            drawn[tensor.id] = noise * (_GAIN / math.sqrt(max(1, value[0].numel())))
    return drawn
