"""Calls of convolutions: shapes, slices, operands that are views."""

from __future__ import annotations

from typing import Any

import torch

from tests.clients.executors.c.kernel_checks import Cases, cut, randn
from tests.clients.executors.c.kernel_program import Case, PartlyUpdated

__all__ = ["SHAPES", "convolution_cases", "slice_cases", "strided_cases", "transposed_cases"]

#: Shapes of x and w, stride, padding, dilation, groups.
SHAPES: dict[str, tuple[Any, ...]] = {
    "plain": ((2, 3, 9, 11), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "strided": ((1, 4, 12, 13), (6, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    "uneven": ((1, 2, 10, 17), (3, 2, 4, 5), (3, 2), (0, 2), (1, 1), 1),
    "dilated": ((1, 3, 14, 15), (2, 3, 3, 3), (1, 2), (2, 3), (2, 3), 1),
    "pointwise": ((2, 6, 5, 7), (5, 6, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "pointwise_strided": ((1, 4, 6, 9), (5, 4, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    "depthwise": ((2, 6, 9, 10), (6, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    "depthwise_strided": ((1, 4, 13, 12), (4, 1, 5, 5), (2, 2), (2, 2), (1, 1), 4),
    "grouped": ((1, 6, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    "multiplied": ((1, 3, 8, 8), (6, 1, 3, 3), (1, 1), (0, 0), (1, 1), 3),
    "sequence": ((2, 3, 12), (4, 3, 3), (2,), (1,), (1,), 1),
    "narrow": ((1, 2, 3, 3), (3, 2, 7, 7), (1, 1), (3, 3), (1, 1), 1),
}


def convolution_cases() -> Cases:
    cases = {}
    for name, (x_shape, w_shape, *movement, groups) in SHAPES.items():
        x, w, bias = randn(*x_shape), randn(*w_shape), randn(w_shape[0])
        rest = (*map(list, movement), False, [0] * len(movement[0]), groups)
        y_shape = torch.convolution(x, w, bias, *rest).shape
        gy = randn(*y_shape)
        cases[f"forward {name}"] = Case(
            "aten.convolution.default", (x, w, bias, *rest), (tuple(y_shape),)
        )
        cases[f"input gradient {name}"] = Case(
            "memplan.conv_input_gradient", (gy, w, list(x_shape), *rest), (x_shape,)
        )
        cases[f"weight gradient {name}"] = Case(
            "memplan.conv_weight_gradient", (gy, x, list(w_shape), *rest), (w_shape,)
        )
    return cases


def transposed_cases() -> Cases:
    cases = {}
    for name, w_shape, movement in (
        ("plain", (4, 3, 2, 2), ([2, 2], [0, 0], [1, 1], True, [0, 0], 1)),
        ("padded", (4, 3, 3, 3), ([2, 1], [1, 1], [1, 1], True, [1, 0], 1)),
        ("pointwise", (4, 3, 1, 1), ([1, 1], [0, 0], [1, 1], True, [0, 0], 1)),
    ):
        x, w, bias = randn(2, 4, 5, 6), randn(*w_shape), randn(3)
        y_shape = torch.convolution(x, w, bias, *movement).shape
        gy = randn(*y_shape)
        cases[f"transposed forward {name}"] = Case(
            "aten.convolution.default", (x, w, bias, *movement), (tuple(y_shape),)
        )
        cases[f"transposed input gradient {name}"] = Case(
            "memplan.conv_input_gradient", (gy, w, [2, 4, 5, 6], *movement), ((2, 4, 5, 6),)
        )
        cases[f"transposed weight gradient {name}"] = Case(
            "memplan.conv_weight_gradient", (gy, x, list(w_shape), *movement), (w_shape,)
        )
    return cases


def slice_cases() -> Cases:
    """Slices of weights: gradients of them, and weights put together of two parts."""
    plain: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    point: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    deep: tuple[Any, ...] = ([2, 2], [1, 1], [1, 1], False, [0, 0], 6)
    pairs: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], False, [0, 0], 2)
    x, gy = randn(2, 6, 7, 8), randn(2, 5, 7, 8)
    gathered = x[:, [0, 2, 3]].contiguous()
    three, one = [5, 6, 3, 3], [5, 6, 1, 1]
    gradient = "memplan.conv_weight_gradient"
    cases = {
        "outputs": Case(
            gradient, (gy, x, three, *plain), ((2, 6, 3, 3),), update=cut("output", 1, 4)
        ),
        "outputs in a row": Case(
            gradient, (gy, x, three, *plain), ((2, 6, 3, 3),), update=cut("output", 2, 3)
        ),
        "inputs, gathered": Case(
            gradient, (gy, gathered, three, *plain), ((5, 3, 3, 3),), update=cut("input", 0, 2, 3)
        ),
        "inputs, whole": Case(
            gradient, (gy, x, three, *plain), ((5, 3, 3, 3),), update=cut("input", 0, 2, 3)
        ),
        "pointwise outputs": Case(
            gradient, (gy, x, one, *point), ((3, 6, 1, 1),), update=cut("output", 0, 1, 4)
        ),
        "pointwise inputs": Case(
            gradient, (gy, gathered, one, *point), ((5, 3, 1, 1),), update=cut("input", 0, 2, 3)
        ),
        "grouped outputs": Case(
            gradient, (randn(1, 4, 7, 8), x[:1].clone(), [4, 3, 3, 3], *pairs), ((3, 3, 3, 3),),
            update=cut("output", 0, 2, 3),
        ),
    }  # fmt: skip
    deep_gy = randn(2, 6, 4, 4)
    for name, source in (("gathered", gathered), ("whole", x)):
        cases[f"depthwise, {name}"] = Case(
            gradient, (deep_gy, source, [6, 1, 3, 3], *deep), ((3, 1, 3, 3),),
            update=cut("output", 0, 2, 3),
        )  # fmt: skip
    w, bias = randn(5, 6, 3, 3), randn(5)
    v = randn(5, 6, 1, 1)
    for axis, dim, channels in (("output", 0, (0, 3)), ("input", 1, (1, 2, 5))):
        for name, weight, movement in (("3x3", w, plain), ("1x1", v, point)):
            split = PartlyUpdated(weight, dim, channels)
            cases[f"forward of {name} cut along {axis}"] = Case(
                "aten.convolution.default", (x, split, bias, *movement), ((2, 5, 7, 8),)
            )
            cases[f"input gradient of {name} cut along {axis}"] = Case(
                "memplan.conv_input_gradient", (gy, split, [2, 6, 7, 8], *movement), ((2, 6, 7, 8),)
            )
    cases["depthwise input gradient, cut"] = Case(
        "memplan.conv_input_gradient",
        (deep_gy, PartlyUpdated(randn(6, 1, 3, 3), 0, (0, 5)), [2, 6, 7, 8], *deep),
        ((2, 6, 7, 8),),
    )
    cases["depthwise forward, cut"] = Case(
        "aten.convolution.default",
        (x, PartlyUpdated(randn(6, 1, 3, 3), 0, (1, 4)), None, *deep), ((2, 6, 4, 4),),
    )  # fmt: skip
    return cases


def strided_cases() -> Cases:
    """Operands that are views, as networks have them."""
    movement: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    point: tuple[Any, ...] = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    spread = randn(2, 5).view(2, 5, 1, 1).expand(2, 5, 4, 4)
    part = randn(2, 9, 4, 4)[:, 3:8]
    x, w, v = randn(2, 6, 4, 4), randn(5, 6, 3, 3), randn(5, 6, 1, 1)
    bits = torch.arange(3, 23, dtype=torch.uint8) * 29
    cases = {}
    for name, gy in (("expanded", spread), ("part of channels", part)):
        cases[f"input gradient of {name}"] = Case(
            "memplan.conv_input_gradient", (gy, w, [2, 6, 4, 4], *movement), ((2, 6, 4, 4),)
        )
        cases[f"pointwise input gradient of {name}"] = Case(
            "memplan.conv_input_gradient", (gy, v, [2, 6, 4, 4], *point), ((2, 6, 4, 4),)
        )
        cases[f"weight gradient of {name}"] = Case(
            "memplan.conv_weight_gradient", (gy, x, [5, 6, 3, 3], *movement), ((5, 6, 3, 3),)
        )
        cases[f"pointwise weight gradient of {name}"] = Case(
            "memplan.conv_weight_gradient", (gy, x, [5, 6, 1, 1], *point), ((5, 6, 1, 1),)
        )
        cases[f"bias gradient of {name}"] = Case("aten.sum.dim_IntList", (gy, [0, 2, 3]), ((5,),))
        cases[f"bits applied to {name}"] = Case("memplan.apply_bits", (gy, bits), ((2, 5, 4, 4),))
        cases[f"sum with {name}"] = Case("aten.add.Tensor", (gy, x[:, :5].clone()), ((2, 5, 4, 4),))
    cases["permuted copy"] = Case(
        "aten.clone.default", (randn(3, 2, 4, 5).permute(1, 2, 0, 3),), ((2, 4, 3, 5),)
    )
    return cases
