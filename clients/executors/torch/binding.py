"""From a plan's steps to calls that are ready to run: views are built once, not at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from memplan.clients.executors.torch.arena import Arena
from memplan.clients.executors.torch.arguments import resolve_arguments
from memplan.clients.executors.torch.geometry import (
    active_slice,
    operand_view,
    tensor_view,
)
from memplan.clients.executors.torch.kernels import Call, Covered, Run, RunState, bind
from memplan.clients.executors.torch.outside import Outside
from memplan.ir.blocks import covered_operations, mutated_tensors
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import Alternative, Operand, Operation, OpGraph, Tensor
from memplan.ir.plan import Plan, Step
from memplan.ir.request import LayerUpdate

__all__ = ["Binder", "host_slice", "update_of"]

_SERVING = ("update", "clear", "accumulate", "apply")


def update_of(plan: Plan, tensor: Tensor) -> LayerUpdate | None:
    """Return the update mask that cuts a tensor, if any."""
    return plan.update_of.get(tensor.layer) if tensor.layer else None


class Binder:
    """Turns steps of one plan into runs."""

    def __init__(
        self,
        graph: OpGraph,
        plan: Plan,
        arena: Arena,
        outside: Outside,
        state: RunState,
        *,
        debug: bool = False,
    ) -> None:
        self._graph = graph
        self._plan = plan
        self._arena = arena
        self._outside = outside
        self._state = state
        self._debug = debug

    def depends_on_trip(self, step: Step) -> bool:
        """Tell whether a step reads another place at each trip of the body."""
        _, alternative = self._chosen(step)
        return any(
            self._is_resident_input(operand.tensor, number)
            for operand, number in zip(alternative.reads, step.reads, strict=True)
        )

    def bind(self, step: Step, trip: int) -> Run:
        """Return what executes a step in one trip of the body.

        Raises:
            ModelError: an operation that nothing here executes.
            PlanRejectedError: buffers that cannot hold what the step puts there.
        """
        operation, alternative = self._chosen(step)
        sources = [
            self._operand(operation, operand, number, trip)
            for operand, number in zip(alternative.reads, step.reads, strict=True)
        ]
        if not all(isinstance(source, torch.Tensor) for source in sources):
            # A partly updated weight has to be put together each time.
            def run() -> None:
                self._bound(self.call(step, [_present(source) for source in sources]))()

            return run
        return self._bound(self.call(step, [_present(source) for source in sources]))

    def _bound(self, call: Call) -> Run:
        run = bind(call)
        if not self._debug:
            return run
        places = [(t, t.data_ptr(), t.shape, t.stride()) for t in (*call.writes, *call.mutates)]

        def run_checked() -> None:
            run()
            for tensor, address, shape, strides in places:
                if (tensor.data_ptr(), tensor.shape, tensor.stride()) != (address, shape, strides):
                    raise call.fail(
                        f"its result has shape {tuple(tensor.shape)}, the graph says {tuple(shape)}"
                    )

        return run_checked

    def gradient_of(self, step: Step) -> tuple[str, torch.Tensor] | None:
        """Return (parameter, view of its gradient) where a step updates with a whole gradient."""
        operation, alternative = self._chosen(step)
        if (
            operation.phase not in ("update", "apply")
            or operation.parameter is None
            or alternative.target == "memplan.fused"
        ):
            return None
        operands = [
            _present(self._operand(operation, operand, number, 0))
            for operand, number in zip(alternative.reads, step.reads, strict=True)
        ]
        arguments, _ = resolve_arguments(alternative, operands, self._plan.micro_batch)
        return operation.parameter, arguments[1]

    def uses_up(self, step: Step) -> bool:
        """Tell whether a step uses up an operand, so that its results are written last."""
        return self._chosen(step)[1].uses_up is not None

    def call(self, step: Step, operands: list[torch.Tensor]) -> Call:
        """Return a step's call with these operands."""
        operation, alternative = self._chosen(step)
        samples = self._plan.micro_batch
        arguments, keywords = resolve_arguments(alternative, operands, samples)
        names = mutated_tensors(self._graph, operation, alternative)
        mutates = self._views(names, step.mutates)
        return Call(
            operation=operation.id,
            target=alternative.target,
            arguments=arguments,
            keywords=keywords,
            writes=self._views(operation.writes, step.writes),
            mutates=mutates,
            covered=tuple(self._covered(operation, alternative, mutates)),
            workspace=None if step.workspace is None else self._arena.bytes_of(step.workspace),
            update=self._plan.update_of.get(operation.layer) if operation.layer else None,
            parameter=operation.parameter,
            write_shapes=tuple(self._graph.tensor[name].shape for name in operation.writes),
            micro_batch=samples,
            trips=self._plan.trips,
            state=self._state,
        )

    def _covered(
        self, operation: Operation, alternative: Alternative, mutates: tuple[torch.Tensor, ...]
    ) -> Iterator[Covered]:
        start = len(operation.mutates)
        for covered in covered_operations(self._graph, alternative):
            end = start + len(covered.mutates)
            yield Covered(covered.parameter or "", mutates[start:end])
            start = end

    def tensor(self, name: str, number: int, samples: int | None = None) -> torch.Tensor:
        """Return the view of a whole buffer as its tensor."""
        tensor = self._graph.tensor[name]
        count = self._plan.micro_batch if samples is None else samples
        return self._arena.view(number, tensor_view(tensor, count, update_of(self._plan, tensor)))

    def _views(self, names: tuple[str, ...], numbers: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(self.tensor(n, b) for n, b in zip(names, numbers, strict=True))

    def _operand(
        self, operation: Operation, operand: Operand, number: int | None, trip: int
    ) -> torch.Tensor | Callable[[], torch.Tensor]:
        tensor = self._graph.tensor[operand.tensor]
        samples = self._plan.micro_batch
        update = update_of(self._plan, tensor)
        if number is None:
            return self._outside.view(tensor.id, operand_view(tensor, operand, samples, None))
        if (
            tensor.role == "parameter"
            and operation.phase not in _SERVING
            and active_slice(tensor, update) is not None
        ):
            part = self.tensor(tensor.id, number)
            view = operand_view(tensor, operand, samples, None)
            return partial(_assembled, self._outside, tensor.id, part, view.of)
        view = operand_view(tensor, operand, samples, update)
        if not trip or not self._is_resident_input(tensor.id, number):
            return self._arena.view(number, view)
        start_bytes = trip * samples * tensor.size_bytes.per_sample
        block = self._arena.bytes_of(number)
        if start_bytes + view.end_bytes > block.numel():
            raise PlanRejectedError(
                f"buffer {number} of {tensor.id} ends inside trip {trip} of the batch"
            )
        return view.of(block, start_bytes)

    def _is_resident_input(self, name: str, number: int | None) -> bool:
        return (
            number is not None
            and self._plan.trips > 1
            and self._graph.tensor[name].role in ("input", "label")
            and self._arena.buffers[number].scope != "body"
        )

    def _chosen(self, step: Step) -> tuple[Operation, Alternative]:
        operation = self._graph.operation.get(step.operation)
        if operation is None:
            raise PlanRejectedError(f"the graph has no operation {step.operation!r}")
        for alternative in operation.alternatives:
            if alternative.name == step.alternative:
                return operation, alternative
        raise PlanRejectedError(f"operation {operation.id} has no alternative {step.alternative!r}")


def _present(source: torch.Tensor | Callable[[], torch.Tensor]) -> torch.Tensor:
    return source if isinstance(source, torch.Tensor) else source()


def _assembled(
    outside: Outside, name: str, part: torch.Tensor, view_of: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    return view_of(outside.assemble(name, part))


def host_slice(tensor: Tensor, value: torch.Tensor, trip: int, samples: int) -> torch.Tensor:
    """Return the samples of one trip of a batch that the host holds."""
    dim = next((d for d, size in enumerate(tensor.shape) if size.per_sample), None)
    if dim is None:
        return value
    count = tensor.shape[dim].at(samples)
    return value.narrow(dim, trip * count, count)
