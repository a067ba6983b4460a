"""Is what the arena holds what PyTorch computes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memplan.clients.cli.original import original_module
from memplan.clients.executors.torch import (
    StepResult,
    autograd_step,
    compare,
    forward_outputs,
    model_outputs,
    model_step,
)
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

if TYPE_CHECKING:
    import torch

__all__ = ["Verdict", "compare_with"]

#: Of outputs in infer mode, relative to the largest value.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a comparison, for people and for scripts."""

    reference: str
    agrees: bool
    detail: str
    figures: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON has it."""
        return {
            "reference": self.reference,
            "agrees": self.agrees,
            "detail": self.detail,
            **self.figures,
        }


def compare_with(
    against: str,
    graph: OpGraph,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    samples: Mapping[str, torch.Tensor],
    result: StepResult,
    *,
    seed: int,
    steps: int,
    inputs: Sequence[str],
    trust: bool,
) -> Verdict:
    """Compare a result with ``autograd`` of the graph's forward pass, or with a model's own.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: model and graph do not belong together.
    """
    if graph.mode == "infer":
        if against == "autograd":
            by_name = forward_outputs(graph, plan.batch, weights, samples, seed)
            expected = [by_name[name] for name in graph.outputs]
        else:
            module = original_module(against, inputs, trust)
            expected = list(model_outputs(module, graph, samples))
        return _outputs_verdict(against, [result.outputs[name] for name in graph.outputs], expected)
    if against == "autograd":
        reference = autograd_step(graph, plan.mask, plan.batch, weights, samples, seed, steps=steps)
    else:
        module = original_module(against, inputs, trust)
        reference = model_step(module, graph, plan.mask, weights, samples)
    found = compare(result, reference)
    worst = found.worst
    figures = {"loss_error": found.loss_error, "tolerance": found.tolerance}
    if worst is not None:
        figures["worst_relative_error"] = worst.relative_error
    detail = found.problem
    if found.ok and worst is not None:
        detail = (
            f"gradients, updates and loss; {worst.parameter} is furthest, by "
            f"{worst.relative_error:.1e} of its largest value"
        )
    return Verdict(against, found.ok, detail, figures)


def _outputs_verdict(
    against: str, outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]
) -> Verdict:
    errors = []
    for got, wanted in zip(outputs, expected, strict=False):
        if got.numel() != wanted.numel():
            detail = f"an output has shape {list(got.shape)}, the reference's {list(wanted.shape)}"
            return Verdict(against, False, detail, {})
        scale = max(float(wanted.abs().max()), 1e-12)
        errors.append(float((got.reshape(wanted.shape) - wanted).abs().max()) / scale)
    worst = max(errors, default=float("inf"))
    detail = f"{len(errors)} outputs, at most {worst:.1e} of their largest value apart"
    return Verdict(
        against, worst <= TOLERANCE, detail, {"worst_relative_error": worst, "tolerance": TOLERANCE}
    )
