"""How far a C project is from the torch executor: same plan, weights, samples and seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from memplan.clients.executors.c.host import HostResult
from memplan.clients.executors.torch.result import StepResult
from memplan.ir.graph import OpGraph

__all__ = ["MOST_AT_A_TIE", "TOLERANCE", "Agreement", "agreement"]

#: Of the largest update of a parameter, or of the largest element of an output.  Both executors
#: compute in float32 and differ in the order of their sums.
TOLERANCE = 1e-3
#: Share of a parameter's integers that may be rounded to the other side; one of them may always.
MOST_AT_A_TIE = 0.01


@dataclass(frozen=True, slots=True)
class Agreement:
    """Errors relative to the largest update of each parameter, or the largest element of others.

    An update is not known better than the last digit of its weight: that much is allowed for.  Of
    integers that is one unit, but at a tie only, which is rare: ``MOST_AT_A_TIE`` of a parameter.
    Other integers are the same.
    """

    ok: bool
    tolerance: float
    #: Tensor that is furthest.
    worst: str
    worst_error: float
    errors: dict[str, float]


def agreement(
    graph: OpGraph,
    weights: dict[str, torch.Tensor],
    found: HostResult,
    expected: StepResult,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Compare outputs, updated parameters and state."""
    errors = {}
    for name, value in expected.outputs.items():
        errors[name] = _relative(found.outputs[name], value, None)
    for name, value in expected.updated.items():
        errors[name] = _relative(found.updated[name], value, weights[name])
    for name, value in expected.states.items():
        errors[name] = _relative(found.states[name], value, None)
    missing = expected.updated.keys() ^ found.updated.keys()
    worst = max(errors, key=lambda name: errors[name], default="")
    error = errors.get(worst, 0.0)
    return Agreement(not missing and error <= tolerance, tolerance, worst, error, errors)


def _relative(found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor | None) -> float:
    if not expected.is_floating_point():
        if before is not None:
            return _relative_integers(found.long(), expected.long(), before.long())
        return 0.0 if torch.equal(found, expected) else float("inf")
    if expected.numel() == 0:
        return 0.0
    difference = float((found - expected).abs().max())
    if not difference < float("inf"):
        return float("inf")
    scale = float((expected if before is None else expected - before).abs().max())
    if before is not None:
        difference = max(
            0.0, difference - 4 * torch.finfo(before.dtype).eps * float(before.abs().max())
        )
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return difference / scale


def _relative_integers(found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor) -> float:
    apart = (found - expected).abs()
    largest = float((expected - before).abs().max())
    if int(apart.max()) == 0:
        return 0.0
    # The longer a step, the less of what is behind its point does a float hold.
    share = MOST_AT_A_TIE + 1e-5 * largest
    if largest == 0.0 or int((apart > 0).sum()) > max(1.0, share * apart.numel()):
        return float("inf")
    return float(apart.max() - 1) / largest
