"""What the passes share that take a backward operation with a mask apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memplan.tracing.draft import Draft, DraftOperation, Recipe

__all__ = ["split_backward"]


def split_backward(
    draft: Draft, target: str, recipes_of: Callable[[Sequence[Any]], Sequence[Recipe]]
) -> None:
    """Give each wanted result of a backward operation an operation of its own.

    Args:
        target: of operations that return the gradients of input, weight and bias, and whose last
            argument says which of them are wanted.
        recipes_of: makes the recipes of the three gradients from the arguments before the mask.
    """
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        if operation.target != target:
            operations.append(operation)
            continue
        *arguments, mask = operation.arguments
        parts = zip(
            mask,
            operation.writes,
            recipes_of(arguments),
            ("input", "weight", "bias"),
            strict=True,
        )
        operations += [
            DraftOperation(
                f"{operation.id}.{suffix}",
                operation.phase,
                (result,),
                [recipe],
                origin=operation.origin,
            )
            for wanted, result, recipe, suffix in parts
            if wanted and result is not None
        ]
    draft.operations = operations
