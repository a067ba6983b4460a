"""Split ``native_layer_norm_backward`` into the gradients of input, weight and bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memplan.tracing.draft import Draft, Recipe
from memplan.tracing.passes.split_backward import split_backward

__all__ = ["split_layer_norm_backward"]


def split_layer_norm_backward(draft: Draft) -> None:
    """Give each wanted result an operation of its own, the input's gradient first."""
    split_backward(draft, "aten.native_layer_norm_backward.default", _recipes)


def _recipes(arguments: Sequence[Any]) -> tuple[Recipe, ...]:
    gy, x, shape, mean, rstd, weight, _ = arguments
    return (
        Recipe("plain", "memplan.layer_norm_input_gradient", (gy, x, mean, rstd, weight, shape)),
        Recipe("plain", "memplan.layer_norm_weight_gradient", (gy, x, mean, rstd, shape)),
        Recipe("plain", "memplan.layer_norm_bias_gradient", (gy, shape)),
    )
