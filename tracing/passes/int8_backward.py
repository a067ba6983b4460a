"""Gradients of an int8 graph: float32 in real units, against int8 weights and int8 saved inputs."""

from __future__ import annotations

from collections.abc import Mapping

from memplan.tracing.draft import Draft, DraftOperation, Recipe, View

__all__ = ["backward_form"]


def backward_form(draft: Draft, operation: DraftOperation, scales: Mapping[str, View]) -> None:
    """Let the gradient of a convolution read integers where its forward has them.

    Args:
        scales: of int8 weights, by weight.
    """
    arguments = operation.arguments
    if operation.target == "memplan.conv_input_gradient":
        w = arguments[1]
        if isinstance(w, View) and w.tensor in scales:
            operation.alternatives = [
                Recipe("plain", "memplan.conv_input_gradient_int8w", (*arguments, scales[w.tensor]))
            ]
    elif operation.target == "memplan.conv_weight_gradient":
        x = arguments[1]
        known = draft.tensors[x.tensor].quantization if isinstance(x, View) else None
        if known is not None and draft.tensors[x.tensor].dtype == "int8":
            operation.alternatives = [
                Recipe(
                    "plain",
                    "memplan.conv_weight_gradient_int8x",
                    (*arguments, known.scale, known.zero_point),
                )
            ]
