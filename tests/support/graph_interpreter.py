"""A simple, slow interpreter of graphs: one storage per tensor, operations in listed order.

It shares no code with the executors.  It runs what outputs and updates need, with the chosen
alternatives, any micro-batch and any update mask; storages begin as NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from memplan.ir.graph import (
    Alternative,
    DtypeArgument,
    FloatArgument,
    Operand,
    OperandArgument,
    Operation,
    OpGraph,
    PhantomArgument,
    RunningArgument,
    SizeArgument,
    Tensor,
    WeightSource,
)
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import alternative_allowed, updated_parameters

__all__ = ["Outcome", "dropout_mask", "full_mask", "initial_weights", "run_step"]

aten = torch.ops.aten


@dataclass
class Outcome:
    """What one step gives."""

    #: Mean of the loss over the micro-batches.
    loss: float
    #: Parameters after the step, whole.
    parameters: dict[str, torch.Tensor]
    states: dict[str, torch.Tensor]
    #: Values of the graph's outputs in the last trip.
    outputs: dict[str, torch.Tensor]
    #: Operations that ran in one trip of the body.
    executed: list[str] = field(default_factory=list)


def full_mask(graph: OpGraph) -> dict[str, LayerUpdate]:
    """Return the mask that updates everything."""
    return {
        layer.id: LayerUpdate(
            layer=layer.id,
            bias=layer.bias is not None,
            weight="none" if layer.weight is None else "whole",
        )
        for layer in graph.layers
    }


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


def run_step(
    graph: OpGraph,
    values: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    *,
    batch: int,
    micro_batch: int | None = None,
    mask: Mapping[str, LayerUpdate] | None = None,
    prefer: tuple[str, ...] = (),
    seed: int = 0,
) -> Outcome:
    """Run one step (or inference).

    Args:
        values: parameters and buffers of the original module by name.
        inputs: the whole batch of inputs and labels by tensor id.
        prefer: names of alternatives to take where the mask allows them.
    """
    if mask is None:
        mask = full_mask(graph) if graph.mode == "train" else {}
    run = _Run(graph, mask, micro_batch or batch, batch, seed)
    run.load(initial_weights(graph, values))
    trips = batch // run.samples
    serving = {"update"} if trips == 1 else {"clear", "accumulate", "apply"}
    chosen = _choose(graph, mask, prefer, serving)
    executed: list[str] = []
    losses = []
    for name in ("constant", "clear"):
        for operation, way in chosen:
            if operation.phase == name:
                run.execute(operation, way)
    for run.trip in range(trips):
        run.feed(inputs)
        executed = []
        for operation, way in chosen:
            if operation.phase in ("constant", "clear", "apply"):
                continue
            run.execute(operation, way)
            executed.append(operation.id)
        if graph.mode == "train":
            losses.append(run.whole(graph.outputs[0]).item())
    for operation, way in chosen:
        if operation.phase == "apply":
            run.execute(operation, way)
    return Outcome(
        loss=sum(losses) / len(losses) if losses else float("nan"),
        parameters={t.id: run.full[t.id] for t in graph.tensors if t.role == "parameter"},
        states={t.id: run.full[t.id] for t in graph.tensors if t.role == "state"},
        outputs={name: run.whole(name).clone() for name in graph.outputs},
        executed=executed,
    )


def _choose(
    graph: OpGraph, mask: Mapping[str, LayerUpdate], prefer: tuple[str, ...], serving: set[str]
) -> list[tuple[Operation, Alternative]]:
    """Return the operations that must run, each with the alternative it takes."""
    updated = updated_parameters(graph, mask)
    wanted = set(graph.outputs)
    needed = []
    for operation in reversed(graph.operations):
        if operation.parameter is not None:
            runs = operation.phase in serving and operation.parameter in updated
        else:
            runs = operation.phase == "statistics" or not wanted.isdisjoint(operation.writes)
        if not runs:
            continue
        ways = operation.alternatives
        allowed = [way for way in ways if alternative_allowed(operation, way, mask)]
        assert allowed, f"{operation.id}: no alternative for {mask.get(operation.layer or '')}"
        way = next((way for way in allowed if way.name in prefer), allowed[0])
        needed.append((operation, way))
        wanted.update(operand.tensor for operand in way.reads)
    return needed[::-1]


class _Run:
    def __init__(
        self, graph: OpGraph, mask: Mapping[str, LayerUpdate], samples: int, batch: int, seed: int
    ) -> None:
        self.graph = graph
        self.mask = mask
        self.samples = samples
        self.batch = batch
        self.seed = seed
        self.trip = 0
        self.full: dict[str, torch.Tensor] = {}
        self.storage: dict[str, torch.Tensor] = {}

    # Tensors

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        for name, value in weights.items():
            tensor = self.graph.tensor[name]
            self.full[name] = value
            self.allocate(tensor)
            self.view(Operand(tensor=name), slices=False).copy_(value)

        for tensor in self.graph.tensors:
            if tensor.role == "accumulator":
                self.allocate(tensor)

    def feed(self, inputs: Mapping[str, torch.Tensor]) -> None:
        for tensor in self.graph.tensors:
            if tensor.role in ("input", "label"):
                value = inputs[tensor.id]
                self.allocate(tensor)
                if tensor.shape and tensor.shape[0].per_sample:
                    value = value[self.trip * self.samples : (self.trip + 1) * self.samples]
                self.whole(tensor.id).copy_(value)

    def allocate(self, tensor: Tensor) -> None:
        size = tensor.size_bytes.at(self.samples)
        if tensor.dtype == "bit":
            self.storage[tensor.id] = torch.full((size,), 255, dtype=torch.uint8)
            return
        dtype = getattr(torch, tensor.dtype)
        poison = float("nan") if dtype.is_floating_point else -1 if dtype != torch.bool else True
        self.storage[tensor.id] = torch.full((size // dtype.itemsize,), poison, dtype=dtype)

    def cut(self, tensor: Tensor) -> tuple[int, tuple[int, ...]] | None:
        """Return (dimension, channels) where the mask takes part of a tensor."""
        update = self.mask.get(tensor.layer) if tensor.layer else None
        for size in tensor.slices if update else ():
            if update is not None and size.axis == update.weight:
                assert size.dim is not None
                return size.dim, update.channels
        return None

    def whole(self, name: str) -> torch.Tensor:
        return self.view(Operand(tensor=name))

    def view(self, operand: Operand, slices: bool = True) -> torch.Tensor:
        tensor = self.graph.tensor[operand.tensor]
        m = self.samples
        shape = [s.at(m) for s in (operand.shape if operand.shape is not None else tensor.shape)]
        strides = [
            s.at(m) for s in (operand.strides if operand.strides is not None else tensor.strides)
        ]
        if tensor.dtype == "bit":
            return self.storage[tensor.id]
        cut = self.cut(tensor) if slices and tensor.role not in ("parameter", "state") else None
        if cut is not None:
            assert operand.shape is None, f"{tensor.id} is sliced but read as a view"
            shape[cut[0]] = len(cut[1])
            strides = list(torch.empty(shape, device="meta").stride())
        return torch.as_strided(self.storage[operand.tensor], shape, strides, operand.offset.at(m))

    # Operations

    def execute(self, operation: Operation, way: Alternative) -> None:
        operands = [self.view(operand) for operand in way.reads]
        arguments = [self.value(argument, operands) for argument in way.arguments]
        keywords = {key: self.value(value, operands) for key, value in way.keywords.items()}
        if operation.mutates:
            self.mutate(operation, way, arguments)
            return
        results = self.compute(operation, way.target, arguments, keywords)
        if isinstance(results, torch.Tensor):
            results = (results,)
        lists = [result if isinstance(result, list) else [result] for result in results]
        flat = [part for parts in lists for part in parts]
        assert len(flat) == len(operation.writes), operation.id
        flat = [part.clone() for part in flat]
        for name, value in zip(operation.writes, flat, strict=True):
            self.allocate(self.graph.tensor[name])
            target = self.whole(name)
            assert target.shape == value.shape, (operation.id, target.shape, value.shape)
            assert target.dtype == value.dtype, (operation.id, target.dtype, value.dtype)
            target.copy_(value)

    def value(self, argument: Any, operands: list[torch.Tensor], running: Any = None) -> Any:
        if isinstance(argument, tuple):
            return [self.value(part, operands, running) for part in argument]
        if isinstance(argument, OperandArgument):
            return operands[argument.operand]
        if isinstance(argument, SizeArgument):
            return argument.size.at(self.samples)
        if isinstance(argument, DtypeArgument):
            return getattr(torch, argument.dtype)
        if isinstance(argument, FloatArgument):
            return float(argument.value)
        if isinstance(argument, PhantomArgument):
            shape = [size.at(self.samples) for size in argument.phantom]
            return torch.full((), float("nan"), dtype=getattr(torch, argument.dtype)).expand(shape)
        return argument

    def compute(
        self, operation: Operation, target: str, arguments: list[Any], keywords: dict[str, Any]
    ) -> Any:
        if target.startswith("memplan."):
            update = self.mask.get(operation.layer) if operation.layer else None
            return _OURS[target](self, update, *arguments)
        _, packet, overload = target.split(".")
        return getattr(getattr(aten, packet), overload)(*arguments, **keywords)

    # Updates

    def mutate(self, operation: Operation, way: Alternative, arguments: list[Any]) -> None:
        if operation.phase == "statistics":
            _update_statistics(self, operation, arguments)
            return
        assert operation.parameter is not None
        mutated = []
        for name in operation.mutates:
            tensor = self.graph.tensor[name]
            whole = self.view(Operand(tensor=name), slices=tensor.role == "accumulator")
            cut = self.cut(tensor)
            if tensor.role != "accumulator" and cut is not None:
                channels = torch.tensor(cut[1])
                mutated.append((whole, whole.index_select(cut[0], channels), cut[0], channels))
            else:
                mutated.append((whole, whole, None, None))
        target = way.target
        if target == "memplan.fused":
            target, gradient_target, arguments, gradient_arguments = arguments
            gradient = self.compute(operation, gradient_target, gradient_arguments, {})
            arguments = [gradient if isinstance(a, RunningArgument) else a for a in arguments]
        parts = [part for _, part, _, _ in mutated]
        _UPDATES[target](self, parts, arguments)
        for name, (whole, part, dim, channels) in zip(operation.mutates, mutated, strict=True):
            if dim is not None:
                whole.index_copy_(dim, channels, part)
            if name in self.full:
                self.full[name] = whole.clone()


def _update_statistics(run: _Run, operation: Operation, arguments: list[Any]) -> None:
    mean_before, var_before, mean, rstd, momentum, count, epsilon = arguments
    variance = 1 / rstd**2 - epsilon
    mean_before.mul_(1 - momentum).add_(mean, alpha=momentum)
    var_before.mul_(1 - momentum).add_(variance * count / (count - 1), alpha=momentum)
    for name in operation.mutates:
        whole = run.view(Operand(tensor=name))
        if not whole.dtype.is_floating_point:
            whole.add_(1)
        run.full[name] = whole.clone()


def _sgd(run: _Run, parts: list[torch.Tensor], arguments: list[Any]) -> None:
    _, gradient, rate = arguments
    parts[0].sub_(rate * gradient)


def _momentum(run: _Run, parts: list[torch.Tensor], arguments: list[Any]) -> None:
    _, gradient, _, rate, momentum = arguments
    weight, velocity = parts
    velocity.mul_(momentum).add_(gradient)
    weight.sub_(rate * velocity)


def _adam(run: _Run, parts: list[torch.Tensor], arguments: list[Any]) -> None:
    _, gradient, _, _, _, rate, beta1, beta2, epsilon = arguments
    weight, first, second, step = parts
    step.add_(1)
    first.mul_(beta1).add_(gradient, alpha=1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    count = step.item()
    corrected = (second / (1 - beta2**count)).sqrt() + epsilon
    weight.sub_(rate / (1 - beta1**count) * first / corrected)


def _clear(run: _Run, parts: list[torch.Tensor], arguments: list[Any]) -> None:
    parts[0].zero_()


def _accumulate(run: _Run, parts: list[torch.Tensor], arguments: list[Any]) -> None:
    parts[0].add_(arguments[1] / (run.batch // run.samples))


_UPDATES: dict[str, Callable[[_Run, list[torch.Tensor], list[Any]], None]] = {
    "memplan.sgd": _sgd,
    "memplan.momentum": _momentum,
    "memplan.adam": _adam,
    "memplan.clear": _clear,
    "memplan.accumulate": _accumulate,
}

Update = LayerUpdate | None


def _conv_input_gradient(
    run: _Run, update: Update, gy: Any, w: Any, shape: Any, *geometry: Any
) -> torch.Tensor:
    x = gy.new_full((), float("nan")).expand(shape)
    return aten.convolution_backward(gy, x, w, None, *geometry, [True, False, False])[0]


def _conv_weight_gradient(
    run: _Run, update: Update, gy: Any, x: Any, shape: Any, *geometry: Any
) -> torch.Tensor:
    *geometry, groups = geometry
    shape = list(shape)
    if update is not None and update.weight in ("input", "output"):
        channels = torch.tensor(update.channels)
        if groups > 1:  # depthwise: a channel is one group
            assert update.weight == "input"
            assert x.shape[1] == len(channels)
            gy, shape[0], groups = gy.index_select(1, channels), len(channels), len(channels)
        elif update.weight == "output":
            gy, shape[0] = gy.index_select(1, channels), len(channels)
        else:
            assert x.shape[1] == len(channels)
            shape[1] = len(channels)
    w = gy.new_full((), float("nan")).expand(shape)
    return aten.convolution_backward(gy, x, w, None, *geometry, groups, [False, True, False])[1]


def _linear_weight_gradient(run: _Run, update: Update, gy: Any, x: Any) -> torch.Tensor:
    if update is not None and update.weight == "output":
        gy = gy.index_select(1, torch.tensor(update.channels))
    if update is not None and update.weight == "input":
        assert x.shape[1] == len(update.channels)
    return gy.t() @ x


def _embedding_weight_gradient(
    run: _Run, update: Update, gy: Any, indices: Any, rows: int, padding: int
) -> torch.Tensor:
    if update is not None and update.weight == "output":
        gy = gy.index_select(-1, torch.tensor(update.channels))
    return aten.embedding_dense_backward(gy, indices, rows, padding, False)


def _layer_norm_gradient(index: int) -> Callable[..., torch.Tensor]:
    mask = [position == index for position in range(3)]

    def gradient(run: _Run, update: Update, gy: Any, *arguments: Any) -> torch.Tensor:
        weight = None
        if index == 0:
            x, mean, rstd, weight, shape = arguments
        elif index == 1:
            x, mean, rstd, shape = arguments
        else:
            (shape,) = arguments
            return gy.reshape(-1, *shape).sum(0)
        unit = x.new_ones(shape) if index == 1 else None
        return aten.native_layer_norm_backward(
            gy, x, shape, mean, rstd, weight if index == 0 else unit, unit, mask
        )[index]

    return gradient


def _range_bits(run: _Run, update: Update, y: Any, low: Any, high: Any) -> torch.Tensor:
    inside = torch.ones_like(y, dtype=torch.bool)
    if low is not None:
        inside &= y > low
    if high is not None:
        inside &= y < high
    rows = inside.reshape(inside.shape[0], -1)
    rows = torch.nn.functional.pad(rows, (0, -rows.shape[1] % 8)).view(rows.shape[0], -1, 8)
    weights = torch.tensor([1 << bit for bit in range(8)])
    return (rows * weights).sum(-1).to(torch.uint8).reshape(-1)


def _apply_bits(run: _Run, update: Update, gy: Any, bits: Any) -> torch.Tensor:
    rows = bits.view(gy.shape[0], -1, 1) >> torch.arange(8)
    inside = (rows & 1).bool().view(gy.shape[0], -1)[:, : gy[0].numel()].view(gy.shape)
    return torch.where(inside, gy, 0)


def _gather_channels(run: _Run, update: Update, x: Any, dim: int) -> torch.Tensor:
    assert update is not None
    return x.index_select(dim, torch.tensor(update.channels))


def dropout_mask(
    seed: int, salt: int, shape: tuple[int, ...], probability: float, dtype: torch.dtype
) -> torch.Tensor:
    """Return the factors of a dropout over a whole batch."""
    generator = torch.Generator().manual_seed(seed * 1000 + salt)
    kept = torch.rand(shape, generator=generator) >= probability
    return kept.to(dtype) / (1 - probability)


def _dropout(run: _Run, update: Update, x: Any, probability: float, salt: int) -> torch.Tensor:
    shape = (run.batch // run.samples, *x.shape)
    mask = dropout_mask(run.seed, salt, shape, probability, x.dtype)
    return x * mask[run.trip]


def _batch_norm_train(
    run: _Run, update: Update, x: Any, weight: Any, bias: Any, epsilon: float
) -> tuple[torch.Tensor, ...]:
    y, mean, rstd = aten.native_batch_norm(x, weight, bias, None, None, True, 0.0, epsilon)
    return y, mean, rstd


def _elementwise(run: _Run, update: Update, *program: Any) -> torch.Tensor:
    running = None
    for target, arguments, keywords in program:
        assert keywords == []
        _, packet, overload = target.split(".")
        arguments = [running if isinstance(a, RunningArgument) else a for a in arguments]
        running = getattr(getattr(aten, packet), overload)(*arguments)
    return running


_OURS: dict[str, Callable[..., Any]] = {
    "memplan.conv_input_gradient": _conv_input_gradient,
    "memplan.conv_weight_gradient": _conv_weight_gradient,
    "memplan.linear_weight_gradient": _linear_weight_gradient,
    "memplan.embedding_weight_gradient": _embedding_weight_gradient,
    "memplan.layer_norm_input_gradient": _layer_norm_gradient(0),
    "memplan.layer_norm_weight_gradient": _layer_norm_gradient(1),
    "memplan.layer_norm_bias_gradient": _layer_norm_gradient(2),
    "memplan.range_bits": _range_bits,
    "memplan.apply_bits": _apply_bits,
    "memplan.gather_channels": _gather_channels,
    "memplan.dropout": _dropout,
    "memplan.dropout_backward": _dropout,
    "memplan.batch_norm_train": _batch_norm_train,
    "memplan.elementwise": _elementwise,
}
