"""The storages of a run, and what executing one operation does to them."""

from __future__ import annotations

from collections.abc import Mapping
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
)
from memplan.ir.request import LayerUpdate
from tests.support.graph_interpreter.block_backward import block_gradients
from tests.support.graph_interpreter.operations import OPERATIONS, Moment, call_aten
from tests.support.graph_interpreter.updates import UPDATES, update_statistics

__all__ = ["Run"]


class Run:
    def __init__(
        self, graph: OpGraph, mask: Mapping[str, LayerUpdate], samples: int, batch: int, seed: int
    ) -> None:
        self.graph = graph
        self.mask = mask
        self.samples = samples
        self.trips = batch // samples
        self.seed = seed
        self.trip = 0
        self.full: dict[str, torch.Tensor] = {}
        self.storage: dict[str, torch.Tensor] = {}
        #: Samples of this trip, by tensor id.
        self.inputs: dict[str, torch.Tensor] = {}

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
                self.inputs[tensor.id] = value

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
        if way.target == "memplan.channel_strips":
            (written,) = operation.writes
            self.allocate(self.graph.tensor[written])
            result, *gradients = block_gradients(arguments, self.whole(written).shape)
            self.whole(written).copy_(result)
            for name, gradient in zip(way.covers, gradients, strict=True):
                self.mutate_by(self.graph.operation[name], gradient)
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

    def value(self, argument: Any, operands: list[torch.Tensor]) -> Any:
        if isinstance(argument, tuple):
            return [self.value(part, operands) for part in argument]
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
        if not target.startswith("memplan."):
            return call_aten(target, *arguments, **keywords)
        update = self.mask.get(operation.layer) if operation.layer else None
        moment = Moment(update, self.trip, self.trips, self.seed, self.inputs)
        return OPERATIONS[target](moment, *arguments)

    # Updates

    def mutate_by(self, operation: Operation, gradient: torch.Tensor) -> None:
        """Do an update, or an accumulation, with a gradient that no operation wrote."""
        plain = operation.alternatives[0]
        operands = [
            self.view(operand) if operand.tensor in self.storage else gradient
            for operand in plain.reads
        ]
        arguments = [self.value(argument, operands) for argument in plain.arguments]
        arguments[1] = gradient
        self.mutate(operation, plain, arguments)

    def mutate(self, operation: Operation, way: Alternative, arguments: list[Any]) -> None:
        tensors = [self.graph.tensor[name] for name in operation.mutates]
        wholes = [
            self.view(Operand(tensor=tensor.id), slices=tensor.role == "accumulator")
            for tensor in tensors
        ]
        if operation.phase == "statistics":
            update_statistics(wholes, arguments)
        else:
            assert operation.parameter is not None
            self.update(operation, way, arguments, tensors, wholes)
        for tensor, whole in zip(tensors, wholes, strict=True):
            if tensor.id in self.full:
                self.full[tensor.id] = whole.clone()

    def update(
        self,
        operation: Operation,
        way: Alternative,
        arguments: list[Any],
        tensors: list[Tensor],
        wholes: list[torch.Tensor],
    ) -> None:
        # Accumulators have the size of their slice; parameters and states are cut here.
        cuts = [None if t.role == "accumulator" else self.cut(t) for t in tensors]
        parts = [
            whole if cut is None else whole.index_select(cut[0], torch.tensor(cut[1]))
            for whole, cut in zip(wholes, cuts, strict=True)
        ]
        target = way.target
        if target == "memplan.fused":
            target, gradient_target, arguments, gradient_arguments = arguments
            gradient = self.compute(operation, gradient_target, gradient_arguments, {})
            arguments = [gradient if isinstance(a, RunningArgument) else a for a in arguments]
        UPDATES[target](parts, arguments, self.trips)
        for whole, part, cut in zip(wholes, parts, cuts, strict=True):
            if cut is not None:
                whole.index_copy_(cut[0], torch.tensor(cut[1]), part)
