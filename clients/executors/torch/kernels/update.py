"""Updates of parameters, and the accumulators between micro-batches.

``mutates`` and the arguments name the same bytes; kernels change the arguments.
"""

from __future__ import annotations

from functools import partial

import torch

from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = ["accumulate", "adam", "clear", "momentum", "sgd"]

#: Elements per chunk of Adam's denominator where the plan gives no workspace.
_CHUNK_ELEMENTS = 16_384


def clear(call: Call) -> Run:
    """``memplan.clear(accumulator)``."""
    return call.mutates[0].zero_


def accumulate(call: Call) -> Run:
    """``memplan.accumulate(accumulator, g)``: the sum is the gradient of the batch's mean loss."""
    return partial(call.mutates[0].add_, call.arguments[-1], alpha=1.0 / call.trips)


def sgd(call: Call) -> Run:
    """``memplan.sgd(w, g, learning_rate)``."""
    w, g, learning_rate = call.arguments
    return partial(w.add_, g, alpha=-learning_rate)


def momentum(call: Call) -> Run:
    """``memplan.momentum(w, g, velocity, learning_rate, momentum)``, as ``torch.optim.SGD``."""
    w, g, velocity, learning_rate, decay = call.arguments

    def run() -> None:
        velocity.mul_(decay).add_(g)
        w.add_(velocity, alpha=-learning_rate)

    return run


def adam(call: Call, *, count_step: bool = True) -> Run:
    """``memplan.adam(w, g, first, second, step, learning_rate, beta1, beta2, epsilon)``.

    As ``torch.optim.Adam``; the denominator is computed in chunks of the workspace.
    ``count_step``: increment ``step`` first; a parameter updated in parts counts once.
    """
    w, g, first, second, step, learning_rate, beta1, beta2, epsilon = call.arguments
    size = w.dtype.itemsize
    scratch = None
    if call.workspace is not None and call.workspace.numel() >= size:
        usable = call.workspace.numel() // size * size
        scratch = call.workspace[:usable].view(w.dtype)
    flat = [tensor.view(-1) for tensor in (w, first, second)]

    def run() -> None:
        denominators = scratch
        if denominators is None:
            denominators = torch.empty(min(w.numel(), _CHUNK_ELEMENTS), dtype=w.dtype)
        if count_step:
            step.add_(1)
        steps = int(step)
        rate = learning_rate / (1.0 - beta1**steps)
        correction = (1.0 - beta2**steps) ** 0.5
        first.lerp_(g, 1.0 - beta1)
        second.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
        for start in range(0, w.numel(), denominators.numel()):
            weights, means, squares = (
                tensor[start : start + denominators.numel()] for tensor in flat
            )
            part = denominators[: weights.numel()]
            torch.sqrt(squares, out=part).div_(correction).add_(epsilon)
            weights.addcdiv_(means, part, value=-rate)

    return run
