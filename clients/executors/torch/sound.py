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

__all__ = ["sound_originals", "sound_weights"]

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
        drawn[tensor.id] = _draw(value, generator, tensor.id in biases, tensor.id in tables)
    return drawn


def sound_originals(
    graph: OpGraph, originals: Mapping[str, torch.Tensor], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return a model's own values, drawn like ``sound_weights``, under its own names.

    The weights of its graph follow with ``memplan.tracing.weights.build_weights``, so that the
    model and the plan start from the same.  Buffers stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    biases = {layer.bias for layer in graph.layers if layer.bias is not None}
    tables = {layer.weight for layer in graph.layers if layer.kind == "embedding"}
    drawn = dict(originals)
    done: set[str] = set()
    for tensor in graph.tensors:
        source = tensor.source
        if tensor.role != "parameter" or source is None:
            continue
        # Of folded_weight: weight, gamma, variance; of folded_bias: bias, beta, gamma, ...
        names = source.names[:2] if source.kind.startswith("folded") else source.names[:1]
        for place, name in enumerate(names):
            value = originals.get(name)
            if value is None or name in done or not value.is_floating_point():
                continue
            is_bias = source.kind == "folded_bias" or tensor.id in biases
            is_scale = source.kind == "folded_weight" and place == 1
            drawn[name] = _draw(value, generator, is_bias and not is_scale, tensor.id in tables)
            done.add(name)
    return drawn


def _draw(
    value: torch.Tensor, generator: torch.Generator, is_bias: bool, is_table: bool
) -> torch.Tensor:
    noise = torch.randn(value.shape, generator=generator).to(value.dtype)
    if is_bias:
        return _SPREAD * noise
    if value.dim() < 2:
        return 1 + _SPREAD * noise
    return noise if is_table else noise * (_GAIN / math.sqrt(max(1, value[0].numel())))
