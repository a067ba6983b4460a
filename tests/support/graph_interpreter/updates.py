"""What operations that mutate do: optimizers, accumulation, running statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["UPDATES", "update_statistics"]


def update_statistics(wholes: list[torch.Tensor], arguments: list[Any]) -> None:
    """Move running averages, and count the step in the counters among ``wholes``."""
    mean_before, var_before, mean, rstd, momentum, count, epsilon = arguments
    variance = 1 / rstd**2 - epsilon
    mean_before.mul_(1 - momentum).add_(mean, alpha=momentum)
    var_before.mul_(1 - momentum).add_(variance * count / (count - 1), alpha=momentum)
    for whole in wholes:
        if not whole.dtype.is_floating_point:
            whole.add_(1)


def _sgd(parts: list[torch.Tensor], arguments: list[Any], trips: int) -> None:
    _, gradient, rate = arguments
    parts[0].sub_(rate * gradient)


def _momentum(parts: list[torch.Tensor], arguments: list[Any], trips: int) -> None:
    _, gradient, _, rate, momentum = arguments
    weight, velocity = parts
    velocity.mul_(momentum).add_(gradient)
    weight.sub_(rate * velocity)


def _adam(parts: list[torch.Tensor], arguments: list[Any], trips: int) -> None:
    _, gradient, _, _, _, rate, beta1, beta2, epsilon = arguments
    weight, first, second, step = parts
    step.add_(1)
    first.mul_(beta1).add_(gradient, alpha=1 - beta1)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    count = step.item()
    corrected = (second / (1 - beta2**count)).sqrt() + epsilon
    weight.sub_(rate / (1 - beta1**count) * first / corrected)


def _clear(parts: list[torch.Tensor], arguments: list[Any], trips: int) -> None:
    parts[0].zero_()


def _accumulate(parts: list[torch.Tensor], arguments: list[Any], trips: int) -> None:
    parts[0].add_(arguments[1] / trips)


#: By target: changes parts in place, given an operation's arguments and the number of trips.
UPDATES: dict[str, Callable[[list[torch.Tensor], list[Any], int], None]] = {
    "memplan.sgd": _sgd,
    "memplan.momentum": _momentum,
    "memplan.adam": _adam,
    "memplan.clear": _clear,
    "memplan.accumulate": _accumulate,
}
