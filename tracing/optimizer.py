"""The optimizer in the graph: one update per parameter, right after its gradient.

With several micro-batches the update is spread: accumulators are cleared in the prologue, summed
in the body, and applied in the epilogue.
"""

from __future__ import annotations

from math import lcm
from typing import Any

from memplan.ir.dtypes import BITS, Dtype
from memplan.ir.graph import AxisSize, Layer, WeightSource
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, Recipe, View, elements
from memplan.tracing.settings import TraceSettings

__all__ = ["ADAM_CHUNK_ELEMENTS", "add_optimizer", "cost_slices"]

#: Adam computes in chunks of about this many elements.
ADAM_CHUNK_ELEMENTS = 1024


def add_optimizer(draft: Draft, settings: TraceSettings) -> None:
    """Add update, clear, accumulate and apply operations of every layer's parameters."""
    contract = settings.optimizer_contract()
    if contract is None:
        return
    splits = draft.symbolic and not draft.coupled_by
    position = {name: i for i, op in enumerate(draft.operations) for name in op.writes}
    last_reader = {view.tensor: i for i, op in enumerate(draft.operations) for view in op.reads()}
    after: dict[int, list[DraftOperation]] = {}
    clears: list[DraftOperation] = []
    applies: list[DraftOperation] = []
    for layer in draft.layers:
        for name in (layer.weight, layer.bias):
            if name is None:
                continue
            step = _Step(draft, layer, name, settings)
            gradient = draft.gradients[name]
            place = max(position.get(gradient.tensor, -1), last_reader.get(name, -1))
            after.setdefault(place, []).append(step.update("update", gradient))
            if splits:
                accumulator = step.accumulator()
                clears.append(step.clear(accumulator))
                after[place].append(step.accumulate(accumulator, gradient))
                applies.append(step.update("apply", accumulator.whole()))
    operations = clears + after.get(-1, [])
    for index, operation in enumerate(draft.operations):
        operations.append(operation)
        operations.extend(after.get(index, ()))
    draft.operations = operations + applies


def cost_slices(tensor: DraftTensor) -> tuple[AxisSize, ...]:
    """Return how costs of an operation on a parameter follow the update mask."""
    return tuple(AxisSize(axis=cut.axis, channels=cut.channels) for cut in tensor.slices)


class _Step:
    """The operations that serve one parameter."""

    def __init__(self, draft: Draft, layer: Layer, name: str, settings: TraceSettings) -> None:
        self.draft = draft
        self.layer = layer
        self.weight = draft.tensors[name]
        self.settings = settings
        self.optimizer = settings.optimizer_contract()
        self.slices = cost_slices(self.weight)
        self.states = self._states()

    def _states(self) -> list[DraftTensor]:
        names = {"sgd": (), "momentum": ("velocity",), "adam": ("first", "second")}
        states = [
            self._like(f"{self.weight.id}.{suffix}", "state")
            for suffix in names[self.settings.optimizer]
        ]
        if self.settings.optimizer == "adam":
            states.append(
                self.draft.new_tensor(
                    f"{self.weight.id}.step",
                    "state",
                    "int64",
                    (),
                    layer=self.layer.id,
                    source=WeightSource(kind="zeros"),
                )
            )
        return states

    def _like(self, name: str, role: Any, dtype: Dtype | None = None) -> DraftTensor:
        return self.draft.new_tensor(
            name,
            role,
            dtype or self.weight.dtype,
            self.weight.shape,
            self.weight.strides,
            layer=self.layer.id,
            slices=self.weight.slices,
            source=WeightSource(kind="zeros") if role == "state" else None,
        )

    def accumulator(self) -> DraftTensor:
        gradient = self.draft.gradients[self.weight.id]
        dtype = self.draft.tensors[gradient.tensor].dtype
        return self._like(f"{self.weight.id}.accumulator", "accumulator", dtype)

    def _operation(self, phase: Any, recipe: Recipe, mutates: tuple[str, ...]) -> DraftOperation:
        recipe.slices = self.slices
        return DraftOperation(
            f"{self.weight.id}.{phase}",
            phase,
            (),
            [recipe],
            layer=self.layer.id,
            parameter=self.weight.id,
            mutates=mutates,
        )

    def update(self, phase: Any, gradient: View) -> DraftOperation:
        optimizer = self.optimizer
        assert optimizer is not None
        known = self.weight.quantization
        if known is not None and known.scales is not None:
            scales = self.draft.tensors[known.scales].whole()
            whole = (self.weight.whole(), gradient, optimizer.learning_rate, scales, known.scale)
            scaling = self.settings.quantization_aware_scaling
            recipe = Recipe("plain", "memplan.sgd_int8", (*whole, scaling))
            return self._operation(phase, recipe, (self.weight.id,))
        operands = (self.weight.whole(), gradient, *(state.whole() for state in self.states))
        rate = optimizer.learning_rate
        numbers: tuple[float, ...] = (rate,)
        workspace = 0
        if optimizer.kind == "momentum":
            numbers = (rate, optimizer.momentum)
        elif optimizer.kind == "adam":
            numbers = (rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
            workspace = self._chunk_bytes()
        recipe = Recipe(
            "plain",
            f"memplan.{optimizer.kind}",
            (*operands, *numbers),
            workspace_bytes=Affine(workspace),
        )
        return self._operation(
            phase, recipe, (self.weight.id, *(state.id for state in self.states))
        )

    def clear(self, accumulator: DraftTensor) -> DraftOperation:
        recipe = Recipe("plain", "memplan.clear", (accumulator.whole(),))
        return self._operation("clear", recipe, (accumulator.id,))

    def accumulate(self, accumulator: DraftTensor, gradient: View) -> DraftOperation:
        recipe = Recipe("plain", "memplan.accumulate", (accumulator.whole(), gradient))
        return self._operation("accumulate", recipe, (accumulator.id,))

    def _chunk_bytes(self) -> int:
        """Return the bytes of one chunk: a multiple of the channels, as is a slice of it."""
        count = elements(self.weight.shape, 1)
        unit = lcm(1, *(cut.channels for cut in self.slices))
        chunk = min(count, max(unit, ADAM_CHUNK_ELEMENTS // unit * unit))
        return chunk * BITS[self.weight.dtype] // 8
