"""Gradient of a linear layer's weight."""

from __future__ import annotations

from functools import partial

import torch

from memplan.clients.executors.torch.kernels.call import Call, Run
from memplan.clients.executors.torch.kernels.selection import with_channels

__all__ = ["linear_weight_gradient"]


def linear_weight_gradient(call: Call) -> Run:
    """``memplan.linear_weight_gradient(gy, x)``: (rows, out), (rows, in) -> (out, in)."""
    gy, x = call.arguments
    (out,) = call.writes

    def bind(gy: torch.Tensor, x: torch.Tensor) -> Run:
        return partial(torch.mm, gy.t(), x, out=out)

    if call.axis == "output" and gy.shape[1] != out.shape[0]:
        return with_channels(gy, 1, call.channels, lambda part: bind(part, x))
    if call.axis == "input" and x.shape[1] != out.shape[1]:
        return with_channels(x, 1, call.channels, lambda part: bind(gy, part))
    return bind(gy, x)
