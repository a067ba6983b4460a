"""The same step by the original module, before any tracing."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memplan.clients.executors.torch.outside import whole_weights
from memplan.clients.executors.torch.reference import Reference, optimize
from memplan.ir.errors import DataError, RequestError
from memplan.ir.graph import OpGraph, WeightSource
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import updated_parameters

__all__ = ["model_outputs", "model_step"]


def model_step(
    module: nn.Module,
    graph: OpGraph,
    mask: Iterable[LayerUpdate],
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> Reference:
    """Train one step of the original module on a whole batch by autograd.

    Where the graph folds frozen batch norm into the layer before it, the module's gradients are
    taken to the folded form, which is what the plan trains: with ``s = gamma / sqrt(var + eps)``
    the gradient of the folded weight is that of the weight divided by s, and the gradient of the
    folded bias is that of beta.

    Args:
        module: with the weights that ``weights`` came from.  Its layers are put into the mode
            that the graph states; of an exported program, whose operations hold the mode, the
            caller must have done so.
        graph: a graph of mode train that was traced from it.
        mask: what is updated of each layer.
        weights: by tensor id, as the plan trains them.
        inputs: inputs and labels by tensor id.

    Raises:
        RequestError: the graph does not train.
        DataError: module and graph do not belong together, or dropout makes them incomparable.
    """
    if graph.mode != "train" or graph.loss is None:
        raise RequestError("only a graph of mode train has gradients to compare with")
    if any(
        "memplan.dropout" in str(alternative)
        for operation in graph.operations
        for alternative in operation.alternatives[:1]
    ):
        raise DataError(
            "the model has dropout, whose masks differ between torch and a plan; "
            "compare with autograd instead, or set the probability to 0"
        )
    values = whole_weights(graph, weights)
    updates = {update.layer: update for update in mask}
    chosen = sorted(updated_parameters(graph, updates))
    leaves = {name: values[name].clone().requires_grad_() for name in chosen}
    trained = copy.deepcopy(module).requires_grad_(True)
    # Not train(): a dropout that the graph does not have must stay off.
    for part in trained.eval().modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.train(graph.batch_norm == "train")

    def loss_and_gradients(step: int) -> tuple[float, dict[str, torch.Tensor]]:
        loss = _loss(graph, trained, inputs)
        torch.autograd.backward(loss)
        origin = _Origin(trained)
        return float(loss.detach()), {
            name: origin.gradient(graph.tensor[name].source, name).view_as(leaf)
            for name, leaf in leaves.items()
        }

    return optimize(graph, updates, leaves, loss_and_gradients, 1, {})


def model_outputs(
    module: nn.Module, graph: OpGraph, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Return the module's own outputs in eval mode, logits first where they are named so.

    An exported program holds its mode in its operations, and must be in that of evaluation.
    """
    with torch.no_grad():
        return tuple(_outputs(graph, copy.deepcopy(module).eval(), inputs))


def _outputs(
    graph: OpGraph, module: nn.Module, inputs: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    names = [tensor.id for tensor in graph.tensors if tensor.role == "input"]
    result = module(*(inputs[name] for name in names))
    logits = result.get("logits") if isinstance(result, Mapping) else None
    leaves = [
        leaf
        for leaf in torch.utils._pytree.tree_leaves(result)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    ]
    if not leaves:
        raise DataError("the module returns no floating-point tensor")
    first = leaves[0] if logits is None else logits
    return [first, *(leaf for leaf in leaves if leaf is not first)]


def _loss(graph: OpGraph, module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    output = _outputs(graph, module, inputs)[0]
    assert graph.loss is not None
    role = "input" if graph.loss.target == "input" else "label"
    target = next(inputs[tensor.id] for tensor in graph.tensors if tensor.role == role)
    if graph.loss.kind == "mse":
        return F.mse_loss(output, target.reshape(output.shape))
    if output.dim() == 3:  # (N, T, V): the classes come last
        return F.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))
    return F.cross_entropy(output, target)


class _Origin:
    """Gradients of a module after its backward, in the form in which the graph has them."""

    def __init__(self, module: nn.Module) -> None:
        self._parameters = dict(module.named_parameters(remove_duplicate=False))
        self._buffers = dict(module.named_buffers(remove_duplicate=False))

    def gradient(self, source: WeightSource | None, name: str) -> torch.Tensor:
        if source is None or source.kind == "copy":
            return self._of(source.names[0] if source is not None else name)
        if source.kind == "folded_weight":
            weight, gamma, variance = source.names
            std = (self._buffers[variance] + source.epsilon).sqrt()
            if not weight:
                return self._of_scale(gamma, std)
            gradient = self._of(weight)
            shape = [1] * gradient.dim()
            shape[1 if source.transposed else 0] = -1
            return gradient * (std / self._value(gamma, std)).view(shape)
        if source.kind == "folded_bias":
            bias, beta, gamma, _, variance = source.names
            if beta:
                return self._of(beta)
            if bias:
                std = (self._buffers[variance] + source.epsilon).sqrt()
                return self._of(bias) * (std / self._value(gamma, std))
        raise DataError(
            f"parameter {name} has no counterpart in the module; compare with autograd instead"
        )

    def _of_scale(self, gamma: str, std: torch.Tensor) -> torch.Tensor:
        # y = scale * x + shift:  dgamma = (dscale - mean * dshift) / std
        stem = gamma.rpartition(".")[0]
        prefix = f"{stem}." if stem else ""
        mean = self._buffers[f"{prefix}running_mean"]
        return self._of(gamma) * std + mean * self._of(f"{prefix}bias")

    def _value(self, name: str, like: torch.Tensor) -> torch.Tensor:
        return self._parameters[name].detach() if name else torch.ones_like(like)

    def _of(self, name: str) -> torch.Tensor:
        parameter: Any = self._parameters.get(name)
        if parameter is None:
            raise DataError(f"the module has no parameter {name!r}; is it the model of this graph?")
        if parameter.grad is None:
            return torch.zeros_like(parameter)
        found: torch.Tensor = parameter.grad.detach()
        return found
