"""Is what the arena holds what PyTorch computes?

A comparison can be worth nothing for two reasons, and both are found and said.  With some fresh
weights every gradient vanishes: then both sides run again with weights that keep signals alive.
And rounding may decide an activation: then float64 is the judge, or other random samples are taken.
Tolerances are never widened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from memplan.clients.cli.references import OriginalReference, StepReference
from memplan.clients.executors.torch import (
    SMALLEST,
    Comparison,
    StepResult,
    autograd_step,
    compare,
    examine,
)
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

if TYPE_CHECKING:
    import torch

    from memplan.clients.executors.torch import Conditioning, Precision, Reference

__all__ = ["Trial", "Verdict", "compare_with"]

#: Of outputs in infer mode, relative to the largest value.
TOLERANCE = 1e-4
#: Batches of random samples that are tried where rounding decides a step.
MOST_BATCHES = 4

Values = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What both sides start from."""

    weights: Values
    samples: Values
    seed: int
    steps: int = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a comparison, for people and for scripts."""

    reference: str
    agrees: bool
    detail: str
    figures: Mapping[str, float]
    #: What had to be changed for the comparison to mean something; empty mostly.
    notes: tuple[str, ...] = ()
    #: Whose weights were compared: "given", or "random" where those given show nothing.
    weights: str = "given"

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON has it."""
        return {
            "reference": self.reference,
            "agrees": self.agrees,
            "detail": self.detail,
            "weights": self.weights,
            "notes": list(self.notes),
            **self.figures,
        }


def compare_with(
    against: str,
    graph: OpGraph,
    plan: Plan,
    trial: Trial,
    result: StepResult,
    *,
    run: Callable[[Trial], StepResult],
    redraw: Callable[[int], Values] | None = None,
    inputs: Sequence[str] = (),
    trust: bool = False,
) -> Verdict:
    """Compare a result with ``autograd`` of the graph's forward pass, or with a model's own.

    Args:
        against: ``autograd``, or a model as ``load_model`` takes it.
        trial: what ``result`` was computed from.
        run: computes a result again from something else.
        redraw: seed -> other random samples; None where the samples are the user's.
        inputs, trust: of loading the model.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: model and graph do not belong together.
        RequestError: the graph is int8, which no model computes.
    """
    if graph.quantization is not None and against != "autograd":
        raise RequestError(
            "an int8 graph computes another function than the model; use --against autograd, "
            "which computes the integers and their gradients independently"
        )
    side = StepReference(graph, plan)
    if against != "autograd":
        side = OriginalReference(graph, plan, against, inputs, trust)
    comparing = _Comparing(graph, plan, against, side, run, redraw)
    if graph.mode == "infer":
        return comparing.outputs(trial, result)
    return comparing.step(trial, result)


@dataclass
class _Comparing:
    """One comparison with its repetitions."""

    graph: OpGraph
    plan: Plan
    against: str
    side: StepReference
    run: Callable[[Trial], StepResult]
    redraw: Callable[[int], Values] | None
    notes: list[str] = field(default_factory=list)
    weights: str = "given"

    def step(self, trial: Trial, result: StepResult) -> Verdict:
        """Compare a training step."""
        reference = self.side.step(trial)
        found = compare(result, reference)
        if found.vacuous and not found.differs and self.graph.quantization is None:
            self._note_sound(found.problem.partition(";")[0])
            trial, result = self._sound(trial)
            reference = self.side.step(trial)
            found = compare(result, reference)
        for batch in range(1, MOST_BATCHES + 1):
            if found.ok or not found.differs or self.graph.quantization is not None:
                break  # integers are exact: rounding decides nothing
            try:
                opinion = self._examine(trial, result, reference)
            except (RuntimeError, NotImplementedError) as failure:
                # An operation that knows no float64: then float32 has the last word.
                why = " ".join(str(failure).split())[:120]
                self.notes.append(f"the reference cannot be computed in float64 ({why})")
                break
            if opinion.match is not None and self.against == "autograd":
                self.notes.append(_undetermined(opinion) + "; compared with autograd in float64")
                found = opinion.match
                break
            if opinion.determined:
                break
            if self.redraw is None or batch == MOST_BATCHES:
                self.notes.append(_undetermined(opinion) + "; try other samples")
                break
            self.notes.append(_undetermined(opinion) + f"; took random samples {trial.seed + 1}")
            trial = replace(trial, seed=trial.seed + 1, samples=self.redraw(trial.seed + 1))
            result, reference = self.run(trial), self.side.step(trial)
            found = compare(result, reference)
        return self._verdict(found)

    def outputs(self, trial: Trial, result: StepResult) -> Verdict:
        """Compare an inference."""
        expected = self.side.outputs(trial)
        if max((float(value.abs().max()) for value in expected), default=0.0) < SMALLEST:
            self._note_sound("the comparison is vacuous: all outputs vanish")
            trial, result = self._sound(trial)
            expected = self.side.outputs(trial)
        outputs = [result.outputs[name] for name in self.graph.outputs]
        ok, detail, figures = _compare_outputs(outputs, expected)
        return Verdict(self.against, ok, detail, figures, tuple(self.notes), self.weights)

    def _sound(self, trial: Trial) -> tuple[Trial, StepResult]:
        trial = replace(trial, weights=self.side.draw_weights(trial))
        return trial, self.run(trial)

    def _note_sound(self, why: str) -> None:
        self.weights = "random"
        self.notes.append(f"with the given weights {why}; both sides ran again with random weights")

    def _examine(self, trial: Trial, result: StepResult, reference: Reference) -> Conditioning:
        def again(precision: Precision | None) -> Reference:
            return autograd_step(
                self.graph, self.plan.mask, self.plan.batch, trial.weights, trial.samples,
                trial.seed, steps=trial.steps, precision=precision,
            )  # fmt: skip

        # An original module does not bear witness for itself: if it differs from its graph, the
        # graph is wrong, and not the rounding.
        own = reference if self.against == "autograd" else again(None)
        return examine(result, own, again)

    def _verdict(self, found: Comparison) -> Verdict:
        worst = found.worst
        figures = {"loss_error": found.loss_error, "tolerance": found.tolerance}
        if worst is not None:
            figures["worst_relative_error"] = worst.relative_error
        detail = found.problem
        if found.ok and worst is not None:
            integers = "int8 tensors bit for bit, " if self.graph.quantization else ""
            detail = (
                f"{integers}gradients, updates and loss; {worst.parameter} is furthest, by "
                f"{worst.relative_error:.1e} of its largest value"
            )
        return Verdict(self.against, found.ok, detail, figures, tuple(self.notes), self.weights)


def _undetermined(opinion: Conditioning) -> str:
    if opinion.determined:
        return "autograd in float32 is at the edge of the tolerance"
    return (
        f"rounding decides this step: correct programs differ by {opinion.spread:.1e} in "
        f"{opinion.parameter} (an activation on a kink or a tie)"
    )


def _compare_outputs(
    outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]
) -> tuple[bool, str, dict[str, float]]:
    errors = []
    for got, wanted in zip(outputs, expected, strict=False):
        if got.numel() != wanted.numel():
            detail = f"an output has shape {list(got.shape)}, the reference's {list(wanted.shape)}"
            return False, detail, {}
        scale = max(float(wanted.abs().max()), SMALLEST)
        errors.append(float((got.reshape(wanted.shape) - wanted).abs().max()) / scale)
    worst = max(errors, default=float("inf"))
    detail = f"{len(errors)} outputs, at most {worst:.1e} of their largest value apart"
    return worst <= TOLERANCE, detail, {"worst_relative_error": worst, "tolerance": TOLERANCE}
