"""The two sides that ``plan run --against`` knows: autograd of the graph, and the model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from memplan.clients.cli.original import Original
from memplan.clients.executors.torch import (
    autograd_step,
    forward_outputs,
    model_outputs,
    model_step,
    sound_weights,
)
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

if TYPE_CHECKING:
    import torch

    from memplan.clients.cli.comparing import Trial
    from memplan.clients.executors.torch import Reference

__all__ = ["OriginalReference", "StepReference"]


class StepReference:
    """Autograd of the graph's forward pass."""

    def __init__(self, graph: OpGraph, plan: Plan) -> None:
        self._graph = graph
        self._plan = plan

    def step(self, trial: Trial) -> Reference:
        """Return what a training step should give."""
        return autograd_step(
            self._graph, self._plan.mask, self._plan.batch, trial.weights, trial.samples,
            trial.seed, steps=trial.steps,
        )  # fmt: skip

    def outputs(self, trial: Trial) -> Sequence[torch.Tensor]:
        """Return what an inference should give."""
        found = forward_outputs(
            self._graph, self._plan.batch, trial.weights, trial.samples, trial.seed
        )
        return [found[name] for name in self._graph.outputs]

    def draw_weights(self, trial: Trial) -> Mapping[str, torch.Tensor]:
        """Return random weights that keep signals alive, and use them from now on."""
        return sound_weights(self._graph, trial.weights, trial.seed)


class OriginalReference(StepReference):
    """The exported forward pass of the original model."""

    def __init__(
        self, graph: OpGraph, plan: Plan, argument: str, inputs: Sequence[str], trust: bool
    ) -> None:
        super().__init__(graph, plan)
        self._original = Original.load(argument, inputs, trust)

    def step(self, trial: Trial) -> Reference:
        return model_step(
            self._original.module(self._graph), self._graph, self._plan.mask, trial.weights,
            trial.samples,
        )  # fmt: skip

    def outputs(self, trial: Trial) -> Sequence[torch.Tensor]:
        return model_outputs(self._original.module(self._graph), self._graph, trial.samples)

    def draw_weights(self, trial: Trial) -> Mapping[str, torch.Tensor]:
        self._original = self._original.redrawn(self._graph, trial.seed)
        return self._original.weights_of(self._graph)
