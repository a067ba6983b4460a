"""The same adaptation in both executors: generated C on this machine, and PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.learning_runs import Prepared
from memplan.clients.executors.c.agreement import Agreement, agreement
from memplan.clients.executors.torch import ArenaExecutor, run_step

__all__ = ["CLOSE", "Curves", "compare_curves", "step_agreement"]

#: Losses closer than this differ by the rounding of float32 sums, and integers are still the same.
CLOSE = 1e-4


@dataclass(frozen=True, slots=True)
class Curves:
    """Losses of both executors on the same images, each going on from its own weights.

    Attributes:
        apart_from: the first step whose losses are not within ``CLOSE``, of the mean loss.
        largest_before: largest difference of a loss before that step, of the mean loss.
        largest: the same over all steps.
        means: of the C executor and of the torch executor, over all steps.
        integers_apart: part of the updated integers that differ in the end.
    """

    steps: int
    apart_from: int | None
    largest_before: float
    largest: float
    means: tuple[float, float]
    integers_apart: float

    @property
    def mean_difference(self) -> float:
        """Of the means, relative to that of the torch executor."""
        ours, theirs = self.means
        return abs(ours - theirs) / theirs


def compare_curves(prepared: Prepared, images: Sequence[int]) -> Curves:
    """Train on images in both executors."""
    found = prepared.run(images)
    executor = ArenaExecutor(prepared.graph, prepared.plan, prepared.weights)
    name = prepared.graph.outputs[0]
    theirs = [float(executor.step(inputs)[name]) for inputs in prepared.batches(images)]
    ours, expected = torch.tensor(found.losses), torch.tensor(theirs)
    differences = (ours - expected).abs() / expected.mean()
    far = (~(differences <= CLOSE)).nonzero().flatten()
    apart_from = int(far[0]) if len(far) else None
    updated = executor.parameters()
    integers = [name for name, value in updated.items() if not value.is_floating_point()]
    unequal = sum(int((found.updated[n] != updated[n]).sum()) for n in integers)
    return Curves(
        steps=len(images),
        apart_from=apart_from,
        largest_before=float(differences[:apart_from].max()) if apart_from != 0 else 0.0,
        largest=float(differences.max()),
        means=(float(ours.mean()), float(expected.mean())),
        integers_apart=unequal / max(1, sum(updated[n].numel() for n in integers)),
    )


def step_agreement(prepared: Prepared, images: Sequence[int], at: int) -> Agreement:
    """Compare one step, from the weights that the C executor has after ``at`` steps."""
    before = dict(prepared.run(images[:at]).updated) if at else {}
    weights = prepared.weights | before
    (inputs,) = prepared.batches(images[at : at + 1])
    expected = run_step(prepared.graph, prepared.plan, weights, inputs, measure_scratch=False)
    return agreement(prepared.graph, weights, prepared.run(images[: at + 1]), expected)
