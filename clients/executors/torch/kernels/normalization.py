"""Normalizations: layer norm's gradients one by one, batch norm over batch statistics."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = [
    "batch_norm_train",
    "layer_norm_bias_gradient",
    "layer_norm_input_gradient",
    "layer_norm_weight_gradient",
    "update_running_statistics",
]

_layer_norm_backward = torch.ops.aten.native_layer_norm_backward.default
_batch_norm = torch.ops.aten.native_batch_norm.out


def layer_norm_input_gradient(call: Call) -> Run:
    """``memplan.layer_norm_input_gradient(gy, x, mean, rstd, weight | None, normalized_shape)``."""
    gy, x, mean, rstd, weight, shape = call.arguments
    (out,) = call.writes

    def run() -> None:
        out.copy_(
            _layer_norm_backward(gy, x, shape, mean, rstd, weight, None, [True, False, False])[0]
        )

    return run


def layer_norm_weight_gradient(call: Call) -> Run:
    """``memplan.layer_norm_weight_gradient(gy, x, mean, rstd, normalized_shape)``."""
    gy, x, mean, rstd, shape = call.arguments
    (out,) = call.writes
    # Its shape is asked for, its values are not.
    weight = torch.zeros((), dtype=x.dtype).expand(tuple(shape)).contiguous()

    def run() -> None:
        out.copy_(
            _layer_norm_backward(gy, x, shape, mean, rstd, weight, None, [False, True, False])[1]
        )

    return run


def layer_norm_bias_gradient(call: Call) -> Run:
    """``memplan.layer_norm_bias_gradient(gy, normalized_shape)``."""
    gy, shape = call.arguments
    rows = list(range(gy.dim() - len(shape)))
    if not rows:
        return partial(call.writes[0].copy_, gy)
    return partial(torch.sum, gy, rows, out=call.writes[0])


def batch_norm_train(call: Call) -> Run:
    """``memplan.batch_norm_train(x, weight, bias, epsilon)`` -> output, mean, rstd."""
    x, weight, bias, epsilon = call.arguments
    out, mean, rstd = call.writes
    return partial(
        _batch_norm, x, weight, bias, None, None, True, 0.0, epsilon,
        out=out, save_mean=mean, save_invstd=rstd,
    )  # fmt: skip


def update_running_statistics(call: Call) -> Run:
    """``memplan.update_running_statistics(running_mean, running_var, mean, rstd, ...)``."""
    mean, rstd, momentum, count, epsilon = call.arguments[-5:]
    running_mean, running_var, *tracked = call.mutates
    unbiased = count / max(count - 1, 1)

    def run() -> None:
        weight: Any = momentum
        for number in tracked:
            number.add_(1)
            if momentum is None:  # the plain average over all batches so far
                weight = 1.0 / float(number)
        variance = rstd.pow(-2).sub_(epsilon).mul_(unbiased)
        running_mean.lerp_(mean, weight)
        running_var.lerp_(variance, weight)

    return run
