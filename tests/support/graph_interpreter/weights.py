"""Where parameters, buffers and states start."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from memplan.ir.graph import OpGraph, WeightSource

__all__ = ["initial_weights"]


def initial_weights(graph: OpGraph, values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return parameters, buffers and states by id, as their sources say."""
    found = {}
    for tensor in graph.tensors:
        if tensor.source is not None:
            dtype = getattr(torch, tensor.dtype)
            shape = [size.at(1) for size in tensor.shape]
            found[tensor.id] = _from_source(tensor.source, values, shape, dtype)
    return found


def _from_source(
    source: WeightSource, values: Mapping[str, torch.Tensor], shape: list[int], dtype: torch.dtype
) -> torch.Tensor:
    if source.kind == "zeros":
        return torch.zeros(shape, dtype=dtype)
    if source.kind == "copy":
        return values[source.names[0]].detach().clone()

    def value(name: str, default: float) -> torch.Tensor:
        return values[name].detach() if name else torch.tensor(default, dtype=dtype)

    if source.kind == "folded_weight":
        weight, gamma, variance = source.names
        scale = value(gamma, 1.0) / torch.sqrt(values[variance] + source.epsilon)
        if not weight:
            return scale.clone()
        dim = 1 if source.transposed else 0
        broadcast = [1] * len(shape)
        broadcast[dim] = -1
        return values[weight].detach() * scale.view(broadcast)
    bias, beta, gamma, mean, variance = source.names
    scale = value(gamma, 1.0) / torch.sqrt(values[variance] + source.epsilon)
    return (value(bias, 0.0) - values[mean]) * scale + value(beta, 0.0)
