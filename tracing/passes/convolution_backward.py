"""Split ``convolution_backward`` into the gradients of input, weight and bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memplan.tracing.draft import Draft, Recipe
from memplan.tracing.passes.split_backward import split_backward
from memplan.tracing.passes.support import size_arguments

__all__ = ["split_convolution_backward"]


def split_convolution_backward(draft: Draft) -> None:
    """Give each wanted result an operation of its own, the input's gradient first.

    So the gradient of a frozen weight is not computed, and the input of a convolution need not
    be saved for the gradient of its input.
    """
    split_backward(draft, "aten.convolution_backward.default", _recipes)


def _recipes(arguments: Sequence[Any]) -> tuple[Recipe, ...]:
    gy, x, weight, _, *geometry = arguments
    return (
        Recipe(
            "plain",
            "memplan.conv_input_gradient",
            (gy, weight, size_arguments(x.shape), *geometry),
        ),
        Recipe(
            "plain",
            "memplan.conv_weight_gradient",
            (gy, x, size_arguments(weight.shape), *geometry),
        ),
        Recipe("plain", "aten.sum.dim_IntList", (gy, (0, *range(2, len(gy.shape))))),
    )
