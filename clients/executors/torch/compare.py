"""How far a planned step is from a reference, parameter by parameter.

Errors are relative to the largest element of the same parameter's gradient or update.  Noise is
allowed for: sums in another order err by ``NOISE`` of the largest gradient of the whole model
(a key's bias in attention has a true gradient of zero, and nothing but such noise), and a weight
cannot be updated more finely than its own last digit.  A parameter whose gradient lies below that
noise, and does not agree by its own scale either, is *silent*: it shows nothing.  Where most are
silent, or nothing moves, the comparison is vacuous, and fails.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from memplan.clients.executors.torch.reference import Reference
from memplan.clients.executors.torch.result import StepResult
from memplan.ir.fixed_point import MOST_BIAS, MOST_WEIGHT

__all__ = ["NOISE", "SMALLEST", "TOLERANCE", "Comparison", "ParameterComparison", "compare"]

TOLERANCE = 1e-3
NOISE = 1e-6
#: Gradients below this are rounded to few digits, or to zero, on their way.
SMALLEST = 1e-30


@dataclass(frozen=True, slots=True)
class ParameterComparison:
    """One parameter.  Errors are largest absolute differences; scales largest reference values."""

    parameter: str
    gradient_error: float | None
    gradient_scale: float
    update_error: float
    update_scale: float
    #: What the weight's own last digit makes of an update.
    rounding: float
    silent: bool
    ok: bool

    @property
    def relative_error(self) -> float:
        """The larger of the two relative errors; 0 where the parameter is silent."""
        if self.silent:
            return 0.0
        beyond = max(0.0, self.update_error - self.rounding)
        errors = [beyond / self.update_scale if self.update_scale else 0.0]
        if self.gradient_error is not None and self.gradient_scale:
            errors.append(self.gradient_error / self.gradient_scale)
        return max(errors)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Verdict over all parameters."""

    ok: bool
    tolerance: float
    loss_error: float
    #: Largest update of any element, by the reference.
    signal: float
    #: Nothing moved, or most parameters show nothing: agreement would mean nothing.
    vacuous: bool
    #: Something is wrong, vacuous or not.
    differs: bool
    parameters: tuple[ParameterComparison, ...]
    #: What is wrong in one sentence; empty if ``ok``.
    problem: str

    @property
    def worst(self) -> ParameterComparison | None:
        """The parameter with the largest relative error."""
        return max(self.parameters, key=lambda p: p.relative_error, default=None)


def compare(result: StepResult, reference: Reference, tolerance: float = TOLERANCE) -> Comparison:
    """Compare updated weights, running statistics, loss, and gradients if the result has them."""
    noise = NOISE * max(reference.scales.values(), default=0.0)
    slope = _slope(reference, noise)
    parameters = tuple(
        _compare_one(name, result, reference, noise, slope, tolerance)
        for name in sorted(reference.updated)
    )
    loss = result.loss if result.loss is not None else float("nan")
    loss_error = abs(loss - reference.loss)
    signal = max((parameter.update_scale for parameter in parameters), default=0.0)
    silent = sum(parameter.silent for parameter in parameters)
    vacuous = not parameters or signal == 0.0 or 2 * silent > len(parameters)
    problem = ""
    wrong = [parameter for parameter in parameters if not parameter.ok]
    # Adam moves silent parameters (a bias before batch norm) by noise, and statistics with them.
    drift = signal if reference.adaptive and silent else 0.0
    stale = [
        name
        for name, value in reference.states.items()
        if name not in result.states
        or not torch.allclose(
            result.states[name].double(), value.double(), rtol=tolerance, atol=tolerance + drift
        )
    ]
    unequal = [
        name
        for name, value in reference.integers.items()
        if name in result.integers and not torch.equal(result.integers[name], value)
    ]
    missing = sorted(set(reference.updated) ^ set(result.updated))
    if missing:
        problem = f"updated on one side only: {', '.join(missing[:3])}"
    elif unequal:
        first = unequal[0]
        count = int((result.integers[first] != reference.integers[first]).sum())
        problem = (
            f"{len(unequal)} of {len(reference.integers)} int8 tensors differ, {first} first, in "
            f"{count} of {reference.integers[first].numel()} elements"
        )
    elif not loss_error <= tolerance * max(1.0, abs(reference.loss)):
        problem = f"the loss is {loss}, the reference's {reference.loss}"
    elif stale:
        problem = f"running statistics differ: {', '.join(stale[:3])}"
    elif wrong:
        worst = max(wrong, key=lambda p: p.relative_error)
        problem = (
            f"{len(wrong)} of {len(parameters)} parameters differ, {worst.parameter} by "
            f"{worst.relative_error:.2g} of its largest value"
        )
    differs = bool(problem)
    if vacuous and not differs:
        problem = (
            f"the comparison is vacuous: {silent} of {len(parameters)} parameters have gradients "
            f"below rounding noise (largest update {signal:.2g}); use other weights or samples"
        )
    return Comparison(
        not problem, tolerance, loss_error, signal, vacuous, differs, parameters, problem
    )


def _compare_one(
    name: str,
    result: StepResult,
    reference: Reference,
    noise: float,
    slope: float,
    tolerance: float,
) -> ParameterComparison:
    expected, before = reference.updated[name], reference.initial[name]
    gradient, scale = reference.gradients[name], reference.scales[name]
    gradient_scale = _largest(gradient)
    gradient_error, agrees = None, False
    ok = name in result.updated
    if name in result.gradients:
        gradient_error = _largest(result.gradients[name] - gradient)
        agrees = gradient_scale >= SMALLEST and gradient_error <= tolerance * gradient_scale
        ok = ok and (agrees or gradient_error <= tolerance * gradient_scale + noise)
    actual = result.updated.get(name, before)
    update_scale = _largest(expected - before)
    last_digit = 0.0
    if before.is_floating_point():
        last_digit = 4 * torch.finfo(before.dtype).eps * _largest(before)
    if not reference.adaptive and name not in reference.rates and update_scale > 10 * last_digit:
        agrees = agrees or _largest(actual - expected) <= tolerance * update_scale
    silent = not agrees and scale <= 10 * noise
    if name in reference.rates:
        return _compare_integers(
            name, result, reference, noise, tolerance, (gradient_error, silent, ok)
        )
    # Where Adam blows noise up to the size of a full update, elements are not comparable.
    clear = torch.ones_like(before, dtype=torch.bool)
    if reference.adaptive:
        clear = reference.reliable[name] & (not silent)
    update_error = _largest((actual - expected)[clear])
    step_of_noise = noise * (update_scale / scale if scale else 0.0)
    if not reference.adaptive:
        # The reference's own gradient may be an exact zero where others have noise.
        step_of_noise = max(step_of_noise, noise * slope)
    ok = ok and update_error <= tolerance * update_scale + step_of_noise + last_digit
    ok = ok and bool(torch.isfinite(actual).all())
    return ParameterComparison(
        parameter=name,
        gradient_error=gradient_error,
        gradient_scale=gradient_scale,
        update_error=update_error,
        update_scale=update_scale,
        rounding=last_digit,
        silent=silent,
        ok=ok,
    )


def _compare_integers(
    name: str,
    result: StepResult,
    reference: Reference,
    noise: float,
    tolerance: float,
    gradient: tuple[float | None, bool, bool],
) -> ParameterComparison:
    """Compare integers: each must be the rounding of a step within the tolerance.

    So they are equal, but where the step lies so near the middle between two integers that the
    tolerance of the gradient reaches over it.  Errors are in steps of the integer.
    """
    gradient_error, silent, ok = gradient
    before, rates = reference.initial[name], reference.rates[name]
    steps = reference.gradients[name].double() * rates
    allowed = (tolerance * reference.scales[name] + noise) * rates + 0.5
    most = MOST_WEIGHT if before.dtype == torch.int8 else MOST_BIAS
    exact = (before.double() - steps).clamp(-most, most)
    excess = (result.updated.get(name, before).double() - exact).abs() - allowed
    error = max(0.0, _largest(excess.clamp(min=0.0)))
    return ParameterComparison(
        parameter=name,
        gradient_error=gradient_error,
        gradient_scale=_largest(reference.gradients[name]),
        update_error=error,
        update_scale=_largest(steps),
        rounding=0.0,
        silent=silent,
        ok=ok and error <= 0.0,
    )


def _slope(reference: Reference, noise: float) -> float:
    """Return the update per gradient where gradients are clear of noise (SGD: the same for all)."""
    return max(
        (
            _largest(reference.updated[name] - reference.initial[name]) / scale
            for name, scale in reference.scales.items()
            if scale > 10 * noise and name not in reference.rates
        ),
        default=0.0,
    )


def _largest(values: torch.Tensor) -> float:
    if values.numel() == 0:
        return 0.0
    if not bool(torch.isfinite(values).all()):
        return float("inf")
    return float(values.abs().max())
