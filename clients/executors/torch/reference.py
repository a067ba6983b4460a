"""The same step by autograd, independent of the graph's own backward.

Only the graph's forward operations are taken, as ordinary torch functions; gradients come from
autograd, updates from ``torch.optim``.  Nothing is planned, sliced, accumulated or in place.

The step can be computed in float64 instead, and there with the rounding of float32 imitated by
random relative errors of every operand (Monte Carlo arithmetic; Parker 1997).  Where such
runs differ among each other, float32 does not determine the step: see ``conditioning``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import torch

from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.clients.executors.torch.geometry import DTYPES, active_slice, operand_view
from memplan.clients.executors.torch.kernels import RUNNING
from memplan.clients.executors.torch.kernels.aten import resolve
from memplan.clients.executors.torch.kernels.dropout import keep_mask
from memplan.clients.executors.torch.kernels.elementwise import substitute
from memplan.clients.executors.torch.outside import whole_weights
from memplan.ir.errors import ModelError, RequestError
from memplan.ir.graph import Operand, Operation, OpGraph, Tensor
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import updated_parameters

__all__ = [
    "ForwardPass",
    "Precision",
    "Reference",
    "autograd_step",
    "forward_outputs",
    "optimize",
    "update_window",
]

#: Largest relative error of an operand that imitates one operation in float32: a few last digits.
_ROUNDING = 4 * torch.finfo(torch.float32).eps


@dataclass(frozen=True, slots=True)
class Precision:
    """float64; with ``rounding_seed`` the errors of float32 are imitated at each operation."""

    rounding_seed: int | None = None


@dataclass(frozen=True)
class Reference:
    """What a step should give.

    Attributes:
        loss: mean loss of the batch in the last step.
        gradients: of the last step by parameter id, whole, zero where the mask freezes.
        updated: parameters after the last step by id, whole.
        initial: the same parameters before the first step.
        reliable: elements whose gradient stood clear of rounding noise in every step; Adam's
            update of the others is noise itself, since it is scaled to the gradient's size.
        scales: largest element of each parameter's gradient over all steps.
        states: running statistics after the last step by tensor id.
        adaptive: the optimizer scales updates to the size of each gradient (Adam).
        integers: int8 activations by tensor id, of an int8 graph.
        rates: step of an integer parameter per unit of its gradient, broadcastable to it.
    """

    loss: float
    gradients: Mapping[str, torch.Tensor]
    updated: Mapping[str, torch.Tensor]
    initial: Mapping[str, torch.Tensor]
    reliable: Mapping[str, torch.Tensor]
    scales: Mapping[str, float]
    states: Mapping[str, torch.Tensor]
    adaptive: bool
    integers: Mapping[str, torch.Tensor] = field(default_factory=dict)
    rates: Mapping[str, torch.Tensor] = field(default_factory=dict)


def autograd_step(
    graph: OpGraph,
    mask: Iterable[LayerUpdate],
    batch: int,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    seed: int = 0,
    *,
    steps: int = 1,
    precision: Precision | None = None,
) -> Reference:
    """Train some steps on one whole batch by autograd and ``torch.optim``.

    Args:
        graph: a graph of mode train.
        mask: what is updated of each layer.
        batch: number of samples.
        weights: by tensor id.
        inputs: inputs and labels by tensor id.
        seed: of dropout; step number k uses ``seed + k``.
        steps: how many.
        precision: of the computation; None for that of the graph.  Results have the graph's.

    Raises:
        RequestError: the graph does not train.
        ModelError: a forward operation that autograd cannot run.
    """
    if graph.mode != "train":
        raise RequestError("only a graph of mode train has gradients to compare with")
    if graph.quantization is not None:
        if steps != 1 or precision is not None:
            raise RequestError("an int8 graph is compared over one step: leave --steps out")
        # It builds on this module.
        from memplan.clients.executors.torch.reference_int8 import integer_step

        return integer_step(graph, mask, batch, weights, inputs, seed)
    if precision is not None:
        values = {name: _widened(value) for name, value in whole_weights(graph, weights).items()}
        inputs = {name: _widened(value) for name, value in inputs.items()}
    else:
        values = whole_weights(graph, weights)
    updates = {update.layer: update for update in mask}
    chosen = sorted(updated_parameters(graph, updates))
    leaves = {name: values[name].clone().requires_grad_() for name in chosen}
    states = {
        name: values[name].clone()
        for operation in graph.operations
        if operation.phase == "statistics"
        for name in operation.mutates
    }

    def loss_and_gradients(step: int) -> tuple[float, dict[str, torch.Tensor]]:
        forward = ForwardPass(
            graph, batch, {**values, **states, **leaves, **inputs}, seed + step, precision
        )
        loss = forward.value(graph.outputs[0])
        found: Any = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        forward.update_statistics(states)
        return float(loss.detach()), {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
        }

    reference = optimize(graph, updates, leaves, loss_and_gradients, steps, states)
    return reference if precision is None else _narrowed(graph, reference)


def optimize(
    graph: OpGraph,
    mask: Mapping[str, LayerUpdate],
    leaves: Mapping[str, torch.Tensor],
    loss_and_gradients: Any,
    steps: int,
    states: Mapping[str, torch.Tensor],
) -> Reference:
    """Update ``leaves`` with ``torch.optim`` under a mask.

    Args:
        graph: its optimizer is used.
        mask: by layer.
        leaves: whole parameters by id, changed in place.
        loss_and_gradients: step number -> (loss, whole gradients by parameter id).
        steps: how many.
        states: running statistics, which ``loss_and_gradients`` keeps up.
    """
    initial = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    windows = {
        name: update_window(graph, graph.tensor[name], mask, leaf) for name, leaf in leaves.items()
    }
    optimizer = _optimizer(graph, list(leaves.values()))
    reliable = {name: torch.ones_like(leaf, dtype=torch.bool) for name, leaf in leaves.items()}
    scales = dict.fromkeys(leaves, 0.0)
    loss, gradients = math.nan, dict[str, torch.Tensor]()
    for step in range(steps):
        loss, found = loss_and_gradients(step)
        gradients = {name: gradient * windows[name] for name, gradient in found.items()}
        for name, gradient in gradients.items():
            leaves[name].grad = gradient
            size = gradient.abs()
            largest = float(size.max()) if size.numel() else 0.0
            reliable[name] &= size > _NOISE * largest
            scales[name] = max(scales[name], largest)
        optimizer.step()
    return Reference(
        loss=loss,
        gradients={name: gradient.detach() for name, gradient in gradients.items()},
        updated={name: leaf.detach().clone() for name, leaf in leaves.items()},
        initial=initial,
        reliable=reliable,
        scales=scales,
        states=dict(states),
        adaptive=graph.optimizer is not None and graph.optimizer.kind == "adam",
    )


#: What an operation returns: one tensor, or several of which masked ones are None.
Results: TypeAlias = "torch.Tensor | Sequence[torch.Tensor | None]"

#: Part of the largest gradient below which an element's relative error may be large.
_NOISE = 1e-2


def forward_outputs(
    graph: OpGraph,
    batch: int,
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Return the graph's outputs for a whole batch, by its forward operations alone."""
    if graph.quantization is not None:
        from memplan.clients.executors.torch.reference_int8 import integer_forward_outputs

        return integer_forward_outputs(graph, batch, weights, inputs, seed)
    with torch.no_grad():
        values = {**whole_weights(graph, weights), **inputs}
        forward = ForwardPass(graph, batch, values, seed)
        return {name: forward.value(name) for name in graph.outputs}


def _optimizer(graph: OpGraph, leaves: Sequence[torch.Tensor]) -> torch.optim.Optimizer:
    settings = graph.optimizer
    if settings is None:
        raise RequestError("the graph has no optimizer; trace it in mode train")
    if settings.kind == "adam":
        return torch.optim.Adam(
            leaves,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            foreach=False,
        )
    decay = settings.momentum if settings.kind == "momentum" else 0.0
    return torch.optim.SGD(leaves, lr=settings.learning_rate, momentum=decay, foreach=False)


def update_window(
    graph: OpGraph, tensor: Tensor, mask: Mapping[str, LayerUpdate], leaf: torch.Tensor
) -> torch.Tensor:
    """Return 1 where the mask updates a parameter, else 0."""
    update = mask.get(tensor.layer) if tensor.layer else None
    rule = active_slice(tensor, update)
    if rule is None or rule.dim is None or update is None:
        return torch.ones_like(leaf, requires_grad=False)
    window = torch.zeros_like(leaf, requires_grad=False)
    return window.index_fill_(rule.dim, torch.tensor(update.channels), 1)


class ForwardPass:
    """Values of a graph's forward tensors, computed when it is made."""

    def __init__(
        self,
        graph: OpGraph,
        batch: int,
        values: Mapping[str, torch.Tensor],
        seed: int,
        precision: Precision | None = None,
    ) -> None:
        self._precision = precision
        self._rounding: torch.Generator | None = None
        if precision is not None and precision.rounding_seed is not None:
            self._rounding = torch.Generator().manual_seed(precision.rounding_seed + seed)
        self._graph = graph
        self._batch = batch
        self._seed = seed
        self._values = {name: self._laid_out(name, value) for name, value in values.items()}
        self._run(graph.outputs)

    def value(self, name: str) -> torch.Tensor:
        """Return a tensor that was needed for the outputs."""
        return self._values[name]

    def update_statistics(self, states: Mapping[str, torch.Tensor]) -> None:
        """Update running statistics as ``torch.nn.BatchNorm`` does."""
        for operation in self._graph.operations:
            if operation.phase != "statistics":
                continue
            plain = operation.alternatives[0]
            operands = [self._operand(operand) for operand in plain.reads]
            arguments, _ = resolve_arguments(plain, operands, self._batch)
            mean, rstd, momentum, count, epsilon = arguments[-5:]
            running_mean, running_var, *tracked = (states[name] for name in operation.mutates)
            for number in tracked:
                number += 1
            if momentum is None:
                momentum = 1.0 / float(tracked[0])
            with torch.no_grad():
                variance = (1 / rstd**2 - epsilon) * count / max(count - 1, 1)
                running_mean.mul_(1 - momentum).add_(mean * momentum)
                running_var.mul_(1 - momentum).add_(variance * momentum)

    def _run(self, outputs: Iterable[str]) -> None:
        wanted, needed = set(outputs), []
        for operation in reversed(self._graph.operations):
            if operation.phase == "statistics" or (
                operation.phase in ("constant", "forward")
                and not wanted.isdisjoint(operation.writes)
            ):
                needed.append(operation)
                wanted.update(operand.tensor for operand in operation.alternatives[0].reads)
        for operation in reversed(needed):
            if operation.phase != "statistics":
                self._execute(operation)

    def _execute(self, operation: Operation) -> None:
        plain = operation.alternatives[0]
        operands = [self._rounded(self._operand(operand)) for operand in plain.reads]
        arguments, keywords = resolve_arguments(plain, operands, self._batch)
        if self._precision is not None:
            arguments, keywords = _wide_dtypes(arguments), _wide_dtypes(keywords)
        results = _call(plain.target, arguments, keywords, self._seed)
        if isinstance(results, torch.Tensor):
            results = (results,)
        found = [result for result in results if isinstance(result, torch.Tensor)]
        if len(found) != len(operation.writes):
            raise ModelError(
                f"operation {operation.id}: {plain.target} gives {len(found)} tensors, the graph "
                f"says {len(operation.writes)}"
            )
        for name, result in zip(operation.writes, found, strict=True):
            self._values[name] = self._laid_out(name, result)

    def _rounded(self, value: torch.Tensor) -> torch.Tensor:
        """Return an operand with relative errors, which also reach sums that cancel."""
        if self._rounding is None or not value.is_floating_point():
            return value
        noise = torch.rand(value.shape, generator=self._rounding, dtype=value.dtype)
        return value * (1 + _ROUNDING * (2 * noise - 1))

    def _operand(self, operand: Operand) -> torch.Tensor:
        value = self._values[operand.tensor]
        tensor = self._graph.tensor[operand.tensor]
        if operand.shape is None:
            return value
        view = operand_view(tensor, operand, self._batch, None)
        return torch.as_strided(value, view.shape, view.strides, view.offset)

    def _laid_out(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return a value in the layout that the graph's views count on."""
        tensor = self._graph.tensor.get(name)
        if tensor is None or tensor.dtype == "bit":
            return value
        shape = [size.at(self._batch) for size in tensor.shape]
        strides = tuple(stride.at(self._batch) for stride in tensor.strides)
        if list(value.shape) != shape:
            raise ModelError(
                f"tensor {name}: computed with shape {tuple(value.shape)}, the graph says {shape}"
            )
        if value.stride() == strides and value.storage_offset() == 0:
            return value
        dtype = DTYPES[tensor.dtype] if self._precision is None else value.dtype
        return torch.empty_strided(shape, strides, dtype=dtype).copy_(value)


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value


def _wide_dtypes(argument: Any) -> Any:
    """Return arguments with float64 where they name a narrower floating-point type."""
    match argument:
        case torch.dtype() if argument.is_floating_point:
            return torch.float64
        case list() | tuple():
            return type(argument)(_wide_dtypes(part) for part in argument)
        case dict():
            return {name: _wide_dtypes(part) for name, part in argument.items()}
        case _:
            return argument


def _narrowed(graph: OpGraph, reference: Reference) -> Reference:
    """Return a reference in the graph's own types."""

    def narrow(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: value.to(DTYPES[graph.tensor[n].dtype]) for n, value in values.items()}

    return replace(
        reference,
        gradients=narrow(reference.gradients),
        updated=narrow(reference.updated),
        initial=narrow(reference.initial),
        states=narrow(reference.states),
    )


def _call(target: str, arguments: Sequence[Any], keywords: Mapping[str, Any], seed: int) -> Results:
    """Execute one forward operation as a differentiable function."""
    if target == "memplan.elementwise":
        running: Any = RUNNING
        for entry_target, entry_arguments, *rest in arguments:
            named = {name: substitute(value, running) for name, value in (rest[0] if rest else ())}
            running = _call(entry_target, substitute(entry_arguments, running), named, seed)
        assert isinstance(running, torch.Tensor)
        return running
    if target == "aten.copy.default":  # functionalized assignment, which autograd does not know
        before, assigned = arguments[:2]
        result: torch.Tensor = assigned.to(before.dtype).expand_as(before).clone()
        return result
    if target == "memplan.dropout":
        x, probability, salt = arguments
        kept = keep_mask(seed, salt, probability, 0, x.numel()).view(x.shape)
        dropped: torch.Tensor = x * kept * (0.0 if probability >= 1 else 1.0 / (1.0 - probability))
        return dropped
    if target == "memplan.batch_norm_train":
        x, weight, bias, epsilon = arguments
        return cast(
            Results, torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, epsilon)
        )
    if target.startswith("memplan."):
        raise ModelError(f"{target} is no operation of a forward pass")
    return cast(Results, resolve(target)(*arguments, **keywords))
