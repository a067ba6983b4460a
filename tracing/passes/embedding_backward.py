"""The gradient of an embedding table under its own name, so that columns of it can be chosen."""

from __future__ import annotations

from memplan.tracing.draft import Draft

__all__ = ["embedding_weight_gradient"]


def embedding_weight_gradient(draft: Draft) -> None:
    """Rewrite ``embedding_dense_backward`` where rows are not scaled by their frequency."""
    for operation in draft.operations:
        plain = operation.plain
        if plain.target != "aten.embedding_dense_backward.default":
            continue
        gy, indices, rows, padding, by_frequency = plain.arguments
        if not by_frequency:
            plain.target = "memplan.embedding_weight_gradient"
            plain.arguments = (gy, indices, rows, padding)
