"""Split ``convolution_backward`` into the gradients of input, weight and bias."""

from __future__ import annotations

from memplan.tracing.draft import Draft, DraftOperation, Recipe
from memplan.tracing.passes.support import size_arguments

__all__ = ["split_convolution_backward"]


def split_convolution_backward(draft: Draft) -> None:
    """Give each wanted result an operation of its own, the input's gradient first.

    So the gradient of a frozen weight is not computed, and the input of a convolution need not
    be saved for the gradient of its input.
    """
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        if operation.target != "aten.convolution_backward.default":
            operations.append(operation)
            continue
        gy, x, weight, _, *geometry, mask = operation.arguments
        recipes = (
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
            Recipe(
                "plain",
                "aten.sum.dim_IntList",
                (gy, (0, *range(2, len(gy.shape)))),
            ),
        )
        suffixes = ("input", "weight", "bias")
        for wanted, result, recipe, suffix in zip(
            mask, operation.writes, recipes, suffixes, strict=True
        ):
            if wanted and result is not None:
                operations.append(
                    DraftOperation(
                        f"{operation.id}.{suffix}",
                        operation.phase,
                        (result,),
                        [recipe],
                        origin=operation.origin,
                    )
                )
    draft.operations = operations
