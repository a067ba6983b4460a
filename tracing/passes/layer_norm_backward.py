"""Split ``native_layer_norm_backward`` into the gradients of input, weight and bias."""

from __future__ import annotations

from memplan.tracing.draft import Draft, DraftOperation, Recipe

__all__ = ["split_layer_norm_backward"]


def split_layer_norm_backward(draft: Draft) -> None:
    """Give each wanted result an operation of its own, the input's gradient first."""
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        if operation.target != "aten.native_layer_norm_backward.default":
            operations.append(operation)
            continue
        gy, x, shape, mean, rstd, weight, _, mask = operation.arguments
        recipes = (
            ("input", "memplan.layer_norm_input_gradient", (gy, x, mean, rstd, weight, shape)),
            ("weight", "memplan.layer_norm_weight_gradient", (gy, x, mean, rstd, shape)),
            ("bias", "memplan.layer_norm_bias_gradient", (gy, shape)),
        )
        for wanted, result, (suffix, target, arguments) in zip(
            mask, operation.writes, recipes, strict=True
        ):
            if wanted and result is not None:
                operations.append(
                    DraftOperation(
                        f"{operation.id}.{suffix}",
                        operation.phase,
                        (result,),
                        [Recipe("plain", target, arguments)],
                        origin=operation.origin,
                    )
                )
    draft.operations = operations
