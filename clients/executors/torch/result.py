"""What a step of training or inference gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from memplan.clients.executors.torch.scratch import ScratchReport

__all__ = ["StepResult"]


@dataclass(frozen=True)
class StepResult:
    """The outcome of running a plan.

    Attributes:
        loss: mean loss of the batch in the last step; None in infer mode.
        updated: updated parameters by id, whole: the frozen part merged in.
        states: optimizer state and running statistics by tensor id, as the arena holds them
            (of a partly updated parameter the slice alone).
        outputs: the graph's outputs of the last step for the whole batch; the loss is averaged.
        gradients: gradient of the batch's mean loss by parameter id, in the last step, where it
            was asked for; whole, zero where the mask freezes.
        arena_bytes: size of the arena.
        scratch: what libraries allocated outside of it, where it was measured.
        seconds: wall time of the last step.
        steps: number of steps that were run.
        integers: int8 activations of the last step by tensor id, where gradients were kept.
    """

    loss: float | None
    updated: Mapping[str, torch.Tensor]
    states: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    arena_bytes: int
    seconds: float
    steps: int
    gradients: Mapping[str, torch.Tensor] = field(default_factory=dict)
    scratch: ScratchReport | None = None
    integers: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def outside_peak_bytes(self) -> int | None:
        """Most bytes that were allocated outside of the arena at once; None: not measured."""
        return None if self.scratch is None else self.scratch.peak_bytes
