"""From a plan's steps to calls: every operand becomes a C expression with a geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memplan.clients.export.c.call import RUNNING, Call, Phantom, UnsupportedError
from memplan.clients.export.c.views import (
    C_TYPES,
    ITEM_BYTES,
    Geometry,
    Split,
    View,
    active_slice,
    operand_geometry,
    tensor_geometry,
)
from memplan.ir.blocks import covered_operations, mutated_tensors
from memplan.ir.errors import PlanRejectedError
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
from memplan.ir.plan import Buffer, Plan, Step
from memplan.ir.request import LayerUpdate

__all__ = ["Binder", "chosen_alternative", "is_streamed"]

_SERVING = ("update", "clear", "accumulate", "apply")


def chosen_alternative(graph: OpGraph, step: Step) -> tuple[Operation, Alternative]:
    """Return the operation of a step and how it is executed."""
    operation = graph.operation[step.operation]
    for alternative in operation.alternatives:
        if alternative.name == step.alternative:
            return operation, alternative
    raise PlanRejectedError(f"operation {operation.id} has no alternative {step.alternative!r}")


def is_streamed(plan: Plan, buffer: Buffer) -> bool:
    """Tell whether an input's buffer holds the samples of one trip, not those of the batch."""
    return plan.trips > 1 and buffer.scope == "body"


class Binder:
    """Turns steps of one plan into calls.

    Args:
        graph: what the plan is for.
        plan: a plan that ``check`` accepts.
        buffer_names: macro of each buffer's offset.
        frozen_name: returns the C name of a frozen tensor's constant.
    """

    def __init__(
        self,
        graph: OpGraph,
        plan: Plan,
        buffer_names: dict[int, str],
        frozen_name: Callable[[str], str],
    ) -> None:
        self._graph = graph
        self._plan = plan
        self._names = buffer_names
        self._frozen_name = frozen_name
        self._buffers = {buffer.id: buffer for buffer in plan.buffers}

    def call(self, step: Step) -> Call:
        """Return the call of a step.

        Raises:
            UnsupportedError: an operand or argument has no form in C.
        """
        operation, alternative = chosen_alternative(self._graph, step)
        samples = self._plan.micro_batch
        operands = [
            self._operand(operation, operand, buffer)
            for operand, buffer in zip(alternative.reads, step.reads, strict=True)
        ]
        workspace = None
        if step.workspace is not None:
            size = self._buffers[step.workspace].size_bytes
            workspace = View(
                self._pointer(step.workspace, "uint8"), "uint8", Geometry((size,), (1,))
            )
        mutates = self._own(mutated_tensors(self._graph, operation, alternative), step.mutates)
        return Call(
            operation=operation.id,
            target=alternative.target,
            arguments=tuple(_resolve(a, operands, samples) for a in alternative.arguments),
            keywords={
                name: _resolve(a, operands, samples) for name, a in alternative.keywords.items()
            },
            writes=self._own(operation.writes, step.writes),
            mutates=mutates,
            covered=tuple(self._covered(operation, alternative, mutates)),
            workspace=workspace,
            update=self._plan.update_of.get(operation.layer) if operation.layer else None,
            write_shapes=tuple(self._graph.tensor[name].shape for name in operation.writes),
            micro_batch=samples,
            trips=self._plan.trips,
            reads=operands,
            used_up=None if alternative.uses_up is None else operands[alternative.uses_up],
        )

    def _covered(
        self, operation: Operation, alternative: Alternative, mutates: tuple[View, ...]
    ) -> Iterator[tuple[View, ...]]:
        start = len(operation.mutates)
        for covered in covered_operations(self._graph, alternative):
            end = start + len(covered.mutates)
            yield mutates[start:end]
            start = end

    def _own(self, names: Sequence[str], buffers: Sequence[int]) -> tuple[View, ...]:
        """Return tensors in their own geometry."""
        return tuple(
            self._view(
                self._graph.tensor[name],
                buffer,
                tensor_geometry(
                    self._graph.tensor[name],
                    self._plan.micro_batch,
                    self._update_of(self._graph.tensor[name]),
                ),
            )
            for name, buffer in zip(names, buffers, strict=True)
        )

    def _operand(self, operation: Operation, operand: Operand, buffer: int | None) -> View:
        tensor = self._graph.tensor[operand.tensor]
        samples, update = self._plan.micro_batch, self._update_of(tensor)
        whole, _ = operand_geometry(tensor, operand, samples, None)
        if buffer is None:
            return View(self._frozen(tensor), tensor.dtype, whole)
        cut, dim = operand_geometry(tensor, operand, samples, update)
        rule = active_slice(tensor, update)
        if tensor.role == "parameter" and operation.phase not in _SERVING and rule is not None:
            if dim < 0 or update is None:
                raise UnsupportedError(f"part of the partly updated weight {tensor.id}")
            self._check(tensor, buffer, cut)
            pointer = self._pointer(buffer, tensor.dtype)
            split = Split(pointer, cut, dim, update.channels, rule.channels)
            return View(self._frozen(tensor), tensor.dtype, whole, split)
        if self._moves_with_trip(tensor, buffer):
            step = tensor.size_bytes.per_sample * samples
            self._check(tensor, buffer, cut, step * (self._plan.trips - 1))
            base = f"AT_TRIP({_c_type(tensor.dtype)}, {self._names[buffer]}, {step})"
            return View(base, tensor.dtype, cut)
        return self._view(tensor, buffer, cut)

    def _view(self, tensor: Tensor, buffer: int, geometry: Geometry) -> View:
        self._check(tensor, buffer, geometry)
        return View(self._pointer(buffer, tensor.dtype), tensor.dtype, geometry)

    def _check(self, tensor: Tensor, buffer: int, geometry: Geometry, extra: int = 0) -> None:
        place, item = self._buffers[buffer], ITEM_BYTES[tensor.dtype]
        if geometry.end * item + extra > place.size_bytes:
            raise PlanRejectedError(
                f"buffer {buffer} of {tensor.id} has {place.size_bytes} bytes, an operand needs "
                f"{geometry.end * item + extra}; plan verify names the fault"
            )
        if place.offset % item:
            raise PlanRejectedError(
                f"buffer {buffer} of {tensor.id} begins at byte {place.offset}, which is no "
                f"multiple of its elements' {item}; plan with an alignment of at least 8 bytes"
            )

    def _pointer(self, buffer: int, dtype: str) -> str:
        return f"AT({_c_type(dtype)}, {self._names[buffer]})"

    def _frozen(self, tensor: Tensor) -> str:
        _c_type(tensor.dtype)
        return self._frozen_name(tensor.id)

    def _moves_with_trip(self, tensor: Tensor, buffer: int) -> bool:
        return (
            self._plan.trips > 1
            and tensor.role in ("input", "label")
            and not is_streamed(self._plan, self._buffers[buffer])
        )

    def _update_of(self, tensor: Tensor) -> LayerUpdate | None:
        return self._plan.update_of.get(tensor.layer) if tensor.layer else None


def _c_type(dtype: str) -> str:
    if dtype not in C_TYPES:
        raise UnsupportedError(f"operands of type {dtype}")
    return C_TYPES[dtype]


def _resolve(argument: Any, operands: Sequence[View], samples: int) -> Any:
    match argument:
        case tuple():
            return tuple(_resolve(part, operands, samples) for part in argument)
        case OperandArgument():
            return operands[argument.operand]
        case SizeArgument():
            return argument.size.at(samples)
        case DtypeArgument():
            return argument.dtype
        case FloatArgument():
            return float(argument.value)
        case RunningArgument():
            return RUNNING
        case PhantomArgument():
            shape = tuple(dimension.at(samples) for dimension in argument.phantom)
            return Phantom(shape, argument.dtype)
        case _:
            return argument
