"""ArenaExecutor: runs a plan in one preallocated arena, step after step.

Views and calls are built once.  State (updated weights, optimizer state, running statistics)
lives in the arena between steps; everything else of the arena is free for the next step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from memplan.clients.executors.torch.arena import Arena, dead_ranges
from memplan.clients.executors.torch.binding import Binder, host_slice, update_of
from memplan.clients.executors.torch.geometry import active_slice, tensor_view
from memplan.clients.executors.torch.integer_inputs import integer_inputs
from memplan.clients.executors.torch.kernels import Run, RunState
from memplan.clients.executors.torch.outside import Outside, check_tensor, whole_weights
from memplan.clients.executors.torch.scratch import ScratchReport, measure
from memplan.ir.errors import DataError, ModelError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Buffer, Plan, Step

__all__ = ["ArenaExecutor", "OnGradient", "OnIntegers", "OnOutputs"]

#: Is told of each parameter's gradient just before the update: (parameter, gradient).  The tensor
#: is the caller's to keep.
OnGradient = Callable[[str, torch.Tensor], None]
#: Is told of the outputs at the end of each trip of the body: (trip, outputs by tensor id).
OnOutputs = Callable[[int, Mapping[str, torch.Tensor]], None]
#: Is told of int8 activations of the whole batch, by tensor id, when the step is done.
OnIntegers = Callable[[Mapping[str, torch.Tensor]], None]


class ArenaExecutor:
    """A plan, ready to run.

    Args:
        graph: the graph that the plan is for.
        plan: a plan that ``check`` accepts; the executor does not repeat its proof.
        weights: by tensor id; parameters, running statistics and shipped constants.
        debug: poison the arena before the start and every byte that dies, and check that results
            stay where the plan put them.

    Raises:
        DataError: weights are missing or have another shape.
        ModelError: an operation that this executor does not have.
        PlanRejectedError: the plan does not fit the graph.
    """

    def __init__(
        self,
        graph: OpGraph,
        plan: Plan,
        weights: Mapping[str, torch.Tensor],
        *,
        debug: bool = False,
    ) -> None:
        self.graph = graph
        self.plan = plan
        self._debug = debug
        self._state = RunState()
        #: int8 activations by tensor id and trip, where a caller asked for them.
        self._seen: dict[str, dict[int, torch.Tensor]] | None = None
        with torch.inference_mode():
            self._arena = Arena(plan)
            if debug:
                self._arena.poison_all()
            values = whole_weights(graph, weights)
            self._outside = Outside(graph, values, plan.micro_batch, plan.update_of)
            self._binder = Binder(graph, plan, self._arena, self._outside, self._state, debug=debug)
            self._inputs = [b for b in plan.buffers if self._role(b) in ("input", "label")]
            self._persistent = [b for b in plan.buffers if self._role(b) in ("parameter", "state")]
            self._load_state(values)
            if debug:
                self._outside.forget_updated()
            sections = (plan.prologue, plan.body, plan.epilogue)
            self._prologue, self._body, self._epilogue = (
                [self._binder.bind(step, 0) for step in section] for section in sections
            )
            self._moving = [
                index
                for index, step in enumerate(plan.body)
                if plan.trips > 1 and self._binder.depends_on_trip(step)
            ]
            self._bodies: dict[int, list[Run]] = {0: self._body}
            self._outputs = self._find_outputs()
            self._dying = {
                last: self._find_dying(last_trip=last) if debug else {} for last in (False, True)
            }

    @property
    def arena_bytes(self) -> int:
        """Size of the arena, all regions together."""
        return self._arena.size_bytes

    def step(
        self,
        inputs: Mapping[str, torch.Tensor],
        *,
        seed: int = 0,
        on_gradient: OnGradient | None = None,
        on_outputs: OnOutputs | None = None,
        on_integers: OnIntegers | None = None,
    ) -> dict[str, torch.Tensor]:
        """Run prologue, all trips of the body and epilogue once.

        Args:
            inputs: the whole batch by tensor id, of every input and label of the graph.  Float
                samples of an int8 input are quantized.
            seed: of dropout.

        Returns:
            The outputs for the whole batch.

        Raises:
            DataError: inputs are missing or have another shape.
        """
        inputs = integer_inputs(self.graph, inputs)
        self._check_inputs(inputs)
        with torch.inference_mode():
            return self._run(inputs, seed, on_gradient, on_outputs, None, on_integers)

    def measure_scratch(
        self, inputs: Mapping[str, torch.Tensor], *, seed: int = 0
    ) -> ScratchReport:
        """Run one step, report what was allocated outside of the arena, and undo the step."""
        inputs = integer_inputs(self.graph, inputs)
        self._check_inputs(inputs)
        with torch.inference_mode():
            before = self._arena.snapshot()
            report = measure(lambda mark: _discard(self._run(inputs, seed, None, None, mark)))
            self._arena.restore(before)
        return report

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return copies of the updated parameters, whole: the frozen part merged in."""
        merged = {}
        for buffer in self._persistent:
            name = buffer.tensor or ""
            tensor = self.graph.tensor[name]
            if tensor.role != "parameter":
                continue
            with torch.inference_mode():
                part = self._binder.tensor(name, buffer.id)
                if active_slice(tensor, update_of(self.plan, tensor)) is not None:
                    block = self._outside.assemble(name, part)
                    part = tensor_view(tensor, self.plan.micro_batch, None).of(block)
            merged[name] = _keep(part)
        return merged

    def whole_gradient(self, parameter: str, gradient: torch.Tensor) -> torch.Tensor:
        """Return a parameter's gradient with zeros where the mask freezes."""
        tensor = self.graph.tensor[parameter]
        update = update_of(self.plan, tensor)
        rule = active_slice(tensor, update)
        shape = tensor_view(tensor, self.plan.micro_batch, None).shape
        if rule is None or rule.dim is None or update is None:
            return gradient.reshape(shape)
        whole = torch.zeros(shape, dtype=gradient.dtype)
        return whole.index_copy_(rule.dim, torch.tensor(update.channels), gradient)

    def states(self) -> dict[str, torch.Tensor]:
        """Return copies of optimizer state and running statistics, as the arena holds them."""
        return {
            buffer.tensor or "": _keep(self._binder.tensor(buffer.tensor or "", buffer.id))
            for buffer in self._persistent
            if self._role(buffer) == "state"
        }

    def _run(
        self,
        inputs: Mapping[str, torch.Tensor],
        seed: int,
        on_gradient: OnGradient | None,
        on_outputs: OnOutputs | None,
        mark: Callable[[str, str], Any] | None,
        on_integers: OnIntegers | None = None,
    ) -> dict[str, torch.Tensor]:
        plan, state = self.plan, self._state
        state.seed, state.trip, state.inputs = seed, 0, inputs
        rows: dict[str, list[tuple[int, torch.Tensor]]] = defaultdict(list)
        if on_gradient is not None:
            state.on_gradient_rows = lambda name, start, part: rows[name].append(
                (start, _keep(part))
            )
        collected: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._seen = None if on_integers is None else {}
        plainly = not self._debug and on_gradient is None and mark is None and on_integers is None
        try:
            self._load_inputs(inputs, None)
            self._section(0, plan.prologue, self._prologue, plainly, on_gradient, mark)
            self._bury(len(plan.prologue) - 1)
            for trip in range(plan.trips):
                state.trip = trip
                self._load_inputs(inputs, trip)
                body = self._body_of(trip)
                self._section(len(plan.prologue), plan.body, body, plainly, on_gradient, mark)
                for name, view in self._outputs.items():
                    collected[name].append(_keep(view))
                if on_outputs is not None:
                    on_outputs(trip, {name: parts[-1] for name, parts in collected.items()})
                self._bury(len(plan.prologue) + len(plan.body) - 1)
            first = len(plan.prologue) + len(plan.body)
            self._section(first, plan.epilogue, self._epilogue, plainly, on_gradient, mark)
            if plan.epilogue:
                self._bury(len(plan.steps) - 1)
        finally:
            state.on_gradient_rows = None
            state.inputs = {}
        with torch.inference_mode(False):
            if on_gradient is not None:
                for name, pieces in rows.items():
                    pieces.sort(key=lambda piece: piece[0])
                    on_gradient(name, torch.cat([piece for _, piece in pieces]))
            if on_integers is not None and self._seen is not None:
                on_integers(
                    {
                        name: self._whole_output(name, list(parts.values()))
                        for name, parts in self._seen.items()
                    }
                )
            return {name: self._whole_output(name, parts) for name, parts in collected.items()}

    def _see_integers(self, step: Step) -> None:
        """Keep the int8 activations that a step has written; a recomputation comes again."""
        if self._seen is None:
            return
        operation = self.graph.operation[step.operation]
        for name, number in zip(operation.writes, step.writes, strict=True):
            tensor = self.graph.tensor[name]
            if tensor.quantization is not None and tensor.role == "activation":
                parts = self._seen.setdefault(name, {})
                parts[self._state.trip] = _keep(self._binder.tensor(name, number))

    def _section(
        self,
        first: int,
        steps: tuple[Step, ...],
        runs: list[Run],
        plainly: bool,
        on_gradient: OnGradient | None,
        mark: Callable[[str, str], Any] | None,
    ) -> None:
        index = 0
        try:
            if plainly:
                for index, run in enumerate(runs):  # noqa: B007 (named in the message below)
                    run()
                return
            for index, (step, run) in enumerate(zip(steps, runs, strict=True)):
                if on_gradient is not None:
                    found = self._binder.gradient_of(step)
                    if found is not None:
                        on_gradient(found[0], _keep(found[1]))
                with mark(step.operation, self._target(step)) if mark else nullcontext():
                    run()
                self._see_integers(step)
                # What dies with a section is buried by the caller, after the outputs are read.
                if index + 1 < len(steps):
                    self._bury(first + index)
        except (RuntimeError, IndexError) as failure:
            step = steps[index]
            raise ModelError(
                f"operation {step.operation} ({self._target(step)}), step {first + index}: "
                f"{_one_line(failure)}"
            ) from failure

    def _body_of(self, trip: int) -> list[Run]:
        if trip not in self._bodies:
            body = list(self._body)
            for index in self._moving:
                body[index] = self._binder.bind(self.plan.body[index], trip)
            self._bodies[trip] = body
        return self._bodies[trip]

    def _load_state(self, values: Mapping[str, torch.Tensor]) -> None:
        for buffer in self._persistent:
            name = buffer.tensor or ""
            tensor = self.graph.tensor[name]
            value = values[name]
            update = update_of(self.plan, tensor)
            rule = active_slice(tensor, update)
            if rule is not None and rule.dim is not None and update is not None:
                value = value.index_select(rule.dim, torch.tensor(update.channels))
            self._binder.tensor(name, buffer.id).copy_(value)

    def _check_inputs(self, inputs: Mapping[str, torch.Tensor]) -> None:
        for tensor in self.graph.tensors:
            if tensor.role in ("input", "label"):
                if tensor.id not in inputs:
                    raise DataError(f"inputs: {tensor.role} {tensor.id!r} is missing")
                check_tensor(tensor, inputs[tensor.id], self.plan.batch, "inputs:")

    def _load_inputs(self, inputs: Mapping[str, torch.Tensor], trip: int | None) -> None:
        """Copy in what is resident (trip None), or what a trip streams in."""
        for buffer in self._inputs:
            name = buffer.tensor or ""
            if (buffer.scope == "body") != (trip is not None):
                continue
            if trip is None:
                self._binder.tensor(name, buffer.id, self.plan.batch).copy_(inputs[name])
            else:
                samples = self.plan.micro_batch
                part = host_slice(self.graph.tensor[name], inputs[name], trip, samples)
                self._binder.tensor(name, buffer.id).copy_(part)

    def _find_outputs(self) -> dict[str, torch.Tensor]:
        """Return views of the outputs where they lie when the body ends.

        An operation that writes an output may run again for another of its results: the
        computation that counts is the one whose buffer is still there at the end.
        """
        end = len(self.plan.prologue) + len(self.plan.body)
        return {
            buffer.tensor: self._binder.tensor(buffer.tensor, buffer.id)
            for buffer in self.plan.buffers
            if buffer.tensor in self.graph.outputs and buffer.end_step >= end
        }

    def _whole_output(self, name: str, parts: list[torch.Tensor]) -> torch.Tensor:
        shape = self.graph.tensor[name].shape
        dim = next((d for d, size in enumerate(shape) if size.per_sample), None)
        if dim is not None:
            return torch.cat(parts, dim)
        return torch.stack(parts).mean(0) if parts[0].is_floating_point() else parts[-1]

    def _find_dying(self, *, last_trip: bool) -> dict[int, list[tuple[str, int, int]]]:
        """Return for each step the ranges of bytes that no one owns once it is done.

        What the loop owns dies in its last trip only.
        """
        scopes = ("body", "batch") if last_trip else ("body",)
        mortal = [buffer for buffer in self.plan.buffers if buffer.scope in scopes]
        immortal = [buffer for buffer in self.plan.buffers if buffer.scope not in scopes]
        ending: dict[int, list[Buffer]] = defaultdict(list)
        for buffer in mortal:
            ending[buffer.end_step - 1].append(buffer)
        #: Where an operand is used up, the result is there before its lifetime begins.
        early = {
            number
            for step in self.plan.body
            if self._binder.uses_up(step)
            for number in step.writes
        }
        return {
            step: dead_ranges(
                dying,
                immortal
                + [b for b in mortal if b.start_step - (b.id in early) <= step < b.end_step - 1],
            )
            for step, dying in ending.items()
        }

    def _bury(self, step: int) -> None:
        """Poison what dies with a step."""
        if self._debug:
            dying = self._dying[self._state.trip == self.plan.trips - 1]
            for region, start, stop in dying.get(step, ()):
                self._arena.poison(region, start, stop)

    def _role(self, buffer: Buffer) -> str | None:
        return None if buffer.tensor is None else self.graph.tensor[buffer.tensor].role

    def _target(self, step: Step) -> str:
        alternatives: Iterator[str] = (
            alternative.target
            for alternative in self.graph.operation[step.operation].alternatives
            if alternative.name == step.alternative
        )
        return next(alternatives)


def _one_line(failure: Exception) -> str:
    """Return the first line of what torch says."""
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0][:200]


def _keep(view: torch.Tensor) -> torch.Tensor:
    """Return an ordinary copy, which outlives the next step."""
    with torch.inference_mode(False):
        return view.clone()


def _discard(outputs: object) -> None:
    del outputs
