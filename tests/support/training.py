"""One training step of a module by plain autograd, to compare graphs with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.graph import OpGraph
from tests.support.graph_interpreter import dropout_mask
from tests.support.models import Case

__all__ = ["Eager", "eager_step", "folded_gradient", "make_labels", "same_dropout"]


@dataclass
class Eager:
    loss: float
    #: Gradients by the module's own names.
    gradients: dict[str, Tensor]
    #: Parameters and buffers before the step.
    values: dict[str, Tensor]
    #: Buffers after the step.
    buffers: dict[str, Tensor]
    output: Tensor


def first_tensor(output: Any) -> Tensor:
    """Return the logits, or the first tensor of an output."""
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "logits"):
        logits: Tensor = output.logits
        return logits
    return next(value for value in output if isinstance(value, Tensor))


def make_labels(case: Case, module: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return labels for a batch, or nothing where the input is the target."""
    if case.target == "input":
        return {}
    with torch.no_grad():
        output = first_tensor(module(*inputs.values()))
    shape = output.shape[:-1] if output.dim() < 4 else (output.shape[0], *output.shape[2:])
    generator = torch.Generator().manual_seed(3)
    return {"labels": torch.randint(0, case.classes, shape, generator=generator)}


def eager_step(
    case: Case, module: nn.Module, inputs: dict[str, Tensor], labels: dict[str, Tensor]
) -> Eager:
    """Return loss and gradients of the module as it is (train or eval mode included)."""
    values = {name: value.detach().clone() for name, value in module.state_dict().items()}
    module.zero_grad()
    output = first_tensor(module(*inputs.values()))
    if case.loss == "mse":
        loss = F.mse_loss(output, next(iter(inputs.values())).reshape(output.shape))
    elif output.dim() == 3:
        loss = F.cross_entropy(output.flatten(0, 1), labels["labels"].flatten())
    else:
        loss = F.cross_entropy(output, labels["labels"])
    torch.autograd.backward(loss)
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    buffers = {name: value.detach().clone() for name, value in module.named_buffers()}
    module.load_state_dict(values)
    return Eager(loss.item(), gradients, values, buffers, output.detach())


def folded_gradient(graph: OpGraph, eager: Eager, parameter: str) -> Tensor:
    """Return the gradient of a folded parameter, from those of the module's own parameters.

    With std = sqrt(var + eps): y = W x * gamma / std + beta - mean * gamma / std, so the gradient
    of the folded weight is dW * std / gamma, that of the folded bias is dbeta, and that of a
    scale alone is dgamma * std + dbeta * mean.
    """
    source = graph.tensor[parameter].source
    assert source is not None
    if source.kind == "copy":
        return eager.gradients[source.names[0]]
    if source.kind == "folded_bias":
        _, beta, *_ = source.names
        return eager.gradients[beta]
    weight, gamma, variance = source.names
    std = torch.sqrt(eager.values[variance] + source.epsilon)
    if weight:
        shape = [1] * eager.values[weight].dim()
        shape[1 if source.transposed else 0] = -1
        return eager.gradients[weight] * (std / eager.values[gamma]).view(shape)
    path = gamma.removesuffix("weight")
    mean = eager.values[path + "running_mean"]
    return eager.gradients[gamma] * std + eager.gradients[path + "bias"] * mean


@contextmanager
def same_dropout(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Iterator[None]:
    """Let torch's dropouts draw the masks that the graph interpreter draws."""
    count = -1

    def factors(shape: Any, p: float, dtype: torch.dtype) -> Tensor:
        nonlocal count
        count += 1
        return dropout_mask(seed, count, (1, *shape), p, dtype)[0]

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return x
        return x * factors(x.shape, p, x.dtype)

    def dropout2d(x: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
        if not training or p == 0:
            return x
        return x * factors(x.shape[:2], p, x.dtype)[:, :, None, None]

    def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
                  is_causal: bool = False, scale: Any = None, **_: Any) -> Tensor:  # fmt: skip
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        assert (attn_mask, is_causal, scale) == (None, False, None)
        return dropout(scores.softmax(-1), dropout_p) @ v

    with monkeypatch.context() as patch:
        patch.setattr(F, "dropout", dropout)
        patch.setattr(F, "dropout2d", dropout2d)
        patch.setattr(F, "scaled_dot_product_attention", attention)
        yield
