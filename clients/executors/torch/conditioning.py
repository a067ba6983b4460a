"""Does float32 determine a step at all?

An activation that lies on the kink of a ReLU, or two that tie for a maximum, are decided by
rounding.  Either decision is a right gradient, and they may be percents apart: then two correct
programs differ, as autograd in float32 differs from itself in float64.  Tolerances are not widened
for that.  The step is computed in float64, and there again with float32's rounding imitated; where
these differ among each other the step is ill-conditioned, and a result is right if it agrees with
one of them, in everything and to the usual tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from memplan.clients.executors.torch.compare import Comparison, compare
from memplan.clients.executors.torch.reference import Precision, Reference
from memplan.clients.executors.torch.result import StepResult

__all__ = ["Conditioning", "as_result", "examine"]

#: Runs with imitated rounding.
ROUNDINGS = 6


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What float64 says about a result that does not agree with a reference in float32.

    Attributes:
        determined: float32 determines the step: all references agree with that in float64.
        spread: largest relative difference of one of them from that in float64.
        parameter: where.
        match: how the result agrees with one of the references; None if it does with none.
    """

    determined: bool
    spread: float
    parameter: str
    match: Comparison | None


def examine(
    result: StepResult, reference: Reference, again: Callable[[Precision], Reference]
) -> Conditioning:
    """Examine a result that differs from a reference.

    Args:
        result: of a plan.
        reference: the same step in float32, by a program that is known to be right.
        again: computes it in another precision.
    """
    exact = again(Precision())
    determined, spread, parameter = True, 0.0, ""
    match: Comparison | None = None
    for other in _references(reference, exact, again):
        found = compare(as_result(other), exact)
        worst = found.worst
        # Silent parameters are noise in every precision, and decide nothing.
        determined = determined and all(p.ok or p.silent for p in found.parameters)
        if worst is not None and worst.relative_error > spread:
            spread, parameter = worst.relative_error, worst.parameter
        if match is None:
            comparison = compare(result, other)
            match = comparison if comparison.ok else None
        if match is not None and not determined:
            break
    return Conditioning(determined, spread, parameter, match)


def _references(
    reference: Reference, exact: Reference, again: Callable[[Precision], Reference]
) -> Iterator[Reference]:
    yield exact
    yield reference
    for seed in range(ROUNDINGS):
        yield again(Precision(rounding_seed=seed))


def as_result(reference: Reference) -> StepResult:
    """Return a reference in the form of what it is compared with."""
    return StepResult(
        loss=reference.loss,
        updated=reference.updated,
        states=reference.states,
        outputs={},
        arena_bytes=0,
        seconds=0.0,
        steps=1,
        gradients=reference.gradients,
    )
