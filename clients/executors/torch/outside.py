"""What lives outside of the arena: frozen weights, and constants computed from them once."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.clients.executors.torch.geometry import (
    DTYPES,
    View,
    active_slice,
    operand_view,
    tensor_view,
)
from memplan.clients.executors.torch.kernels import Call, bind
from memplan.ir.errors import DataError
from memplan.ir.graph import Operation, OpGraph, Tensor
from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import updated_parameters

__all__ = ["Outside", "check_tensor", "whole_weights"]

_FROM_FILE = ("parameter", "state", "constant")


def check_tensor(tensor: Tensor, value: torch.Tensor, samples: int, what: str) -> None:
    """Refuse a value that is not of the tensor's shape and element type.

    Raises:
        DataError: with both shapes.
    """
    shape = tuple(dimension.at(samples) for dimension in tensor.shape)
    if tuple(value.shape) != shape or value.dtype != DTYPES[tensor.dtype]:
        raise DataError(
            f"{what} {tensor.id}: the graph says {tensor.dtype} {shape}, "
            f"given is {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        )


def whole_weights(graph: OpGraph, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the value of every tensor that is there before the first step, whole and checked.

    Optimizer state that is not given is zero.

    Raises:
        DataError: a tensor is missing, or has another shape or element type.
    """
    values = {}
    for tensor in graph.tensors:
        if tensor.role not in _FROM_FILE or tensor.id in graph.producer:
            continue
        value = weights.get(tensor.id)
        if value is None and tensor.source is not None and tensor.source.kind == "zeros":
            shape = [dimension.at(1) for dimension in tensor.shape]
            value = torch.zeros(shape, dtype=DTYPES[tensor.dtype])
        if value is None:
            raise DataError(
                f"weights: {tensor.role} {tensor.id!r} is missing; give the weights of this "
                "graph's model (plan --weights-out writes them)"
            )
        check_tensor(tensor, value, graph.traced_batch, "weights:")
        values[tensor.id] = value.detach()
    return values


class Outside:
    """Blocks of bytes by tensor id: read-only memory, as flash is on a device."""

    def __init__(
        self,
        graph: OpGraph,
        values: Mapping[str, torch.Tensor],
        samples: int,
        mask: Mapping[str, LayerUpdate],
    ) -> None:
        self._graph = graph
        self._samples = samples
        self._mask = mask
        self._blocks: dict[str, torch.Tensor] = {}
        for name, value in values.items():
            self._store(graph.tensor[name], value)
        for operation in graph.operations:
            if operation.phase == "constant":
                self._compute(operation)
        self._partly: list[str] = []
        for name in updated_parameters(graph, mask):
            tensor = graph.tensor[name]
            if active_slice(tensor, mask.get(tensor.layer or "")) is None:
                del self._blocks[name]  # the arena has all of it
            else:
                self._partly.append(name)

    def view(self, name: str, view: View) -> torch.Tensor:
        """Return a strided view on a frozen tensor."""
        if name not in self._blocks:
            raise DataError(
                f"tensor {name!r} is read from outside of the arena, but it is no weight or "
                "constant; plan verify names the fault"
            )
        return view.of(self._blocks[name])

    def assemble(self, name: str, part: torch.Tensor) -> torch.Tensor:
        """Return the bytes of a partly updated weight: the frozen rest with ``part`` put in.

        They are scratch memory outside of the arena, and are measured as such.
        """
        tensor = self._graph.tensor[name]
        update = self._mask[tensor.layer or ""]
        rule = active_slice(tensor, update)
        if rule is None or rule.dim is None:
            raise AssertionError(f"{name} is not cut by its mask")
        block = self._blocks[name].clone()
        whole = tensor_view(tensor, self._samples, None).of(block)
        whole.index_copy_(rule.dim, torch.tensor(update.channels), part)
        return block

    def forget_updated(self) -> None:
        """Spoil what the arena holds, so that no one can read it from here (debugging)."""
        for name in self._partly:
            tensor = self._graph.tensor[name]
            update = self._mask[tensor.layer or ""]
            rule = active_slice(tensor, update)
            self._blocks[name] = self._blocks[name].clone()
            whole = tensor_view(tensor, self._samples, None).of(self._blocks[name])
            if rule is not None and rule.dim is not None:
                spoilt = float("nan") if whole.is_floating_point() else torch.iinfo(whole.dtype).min
                whole.index_fill_(rule.dim, torch.tensor(update.channels), spoilt)

    def _store(self, tensor: Tensor, value: torch.Tensor) -> None:
        view = tensor_view(tensor, self._samples, None)
        aligned = value.data_ptr() % value.itemsize == 0
        if aligned and value.is_contiguous() and value.stride() == view.strides:
            self._blocks[tensor.id] = value.reshape(-1).view(torch.uint8)  # shared, only read
            return
        self._blocks[tensor.id] = torch.zeros(view.end_bytes, dtype=torch.uint8)
        view.of(self._blocks[tensor.id]).copy_(value)

    def _compute(self, operation: Operation) -> None:
        plain = operation.alternatives[0]
        operands = [
            self.view(
                operand.tensor,
                operand_view(self._graph.tensor[operand.tensor], operand, self._samples, None),
            )
            for operand in plain.reads
        ]
        writes = []
        for name in operation.writes:
            tensor = self._graph.tensor[name]
            view = tensor_view(tensor, self._samples, None)
            self._blocks[name] = torch.zeros(view.end_bytes, dtype=torch.uint8)
            writes.append(view.of(self._blocks[name]))
        arguments, keywords = resolve_arguments(plain, operands, self._samples)
        bind(
            Call(
                operation=operation.id,
                target=plain.target,
                arguments=arguments,
                keywords=keywords,
                writes=tuple(writes),
                write_shapes=tuple(self._graph.tensor[name].shape for name in operation.writes),
                micro_batch=self._samples,
            )
        )()
