"""Convolutions of every kind, small, with what torch says that they and their gradients are."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["CONVOLUTIONS", "Convolution", "Expected", "expect"]


class Convolution(NamedTuple):
    """The geometry of a convolution over images."""

    inputs: int
    outputs: int
    kernel: tuple[int, int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    @property
    def geometry(self) -> tuple[list[int], list[int], list[int], bool, list[int], int]:
        """The last arguments of ``aten.convolution``."""
        return (
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
        )


# fmt: off
CONVOLUTIONS = [
    # in, out, kernel, stride, padding, dilation, transposed, output padding, groups
    Convolution(4, 6, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
    Convolution(4, 6, (3, 2), [2, 1], [1, 0], [1, 2], False, [0, 0], 1),
    Convolution(4, 6, (1, 1), [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
    Convolution(4, 6, (1, 1), [2, 2], [0, 0], [1, 1], False, [0, 0], 1),
    Convolution(4, 4, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 4),
    Convolution(4, 6, (3, 3), [1, 1], [1, 1], [1, 1], False, [0, 0], 2),
    Convolution(4, 6, (2, 2), [2, 2], [0, 0], [1, 1], True, [0, 0], 1),
    Convolution(4, 6, (3, 3), [2, 2], [1, 1], [1, 1], True, [1, 1], 1),
]
# fmt: on


class Expected(NamedTuple):
    """Operands of a convolution, and what torch computes from them."""

    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    y: torch.Tensor
    y_gradient: torch.Tensor
    x_gradient: torch.Tensor
    weight_gradient: torch.Tensor


def expect(case: Convolution) -> Expected:
    """Draw operands for a convolution and compute it, and its gradients, with torch."""
    x = torch.randn(3, case.inputs, 7, 8, requires_grad=True)
    pair = (case.inputs, case.outputs) if case.transposed else (case.outputs, case.inputs)
    w = torch.randn(pair[0], pair[1] // case.groups, *case.kernel, requires_grad=True)
    bias = torch.randn(case.outputs)
    y = torch.convolution(x, w, bias, *case.geometry)
    gy = torch.randn_like(y)
    gx, gw = torch.autograd.grad(y, (x, w), gy)
    return Expected(x.detach(), w.detach(), bias, y.detach(), gy, gx, gw)
