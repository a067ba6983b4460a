"""Drop operations that nothing needs."""

from __future__ import annotations

from memplan.tracing.draft import Draft

__all__ = ["drop_dead_operations"]


def drop_dead_operations(draft: Draft) -> None:
    """Keep what the outputs, the gradients and the running statistics need."""
    wanted = set(draft.outputs) | {view.tensor for view in draft.gradients.values()}
    kept = []
    for operation in reversed(draft.operations):
        if operation.mutates or not wanted.isdisjoint(operation.writes):
            kept.append(operation)
            wanted.update(view.tensor for view in operation.reads())
            wanted.update(operation.mutates)
    draft.operations = kept[::-1]
    written = {name for operation in kept for name in operation.writes}
    draft.tensors = {
        name: tensor for name, tensor in draft.tensors.items() if name in wanted or name in written
    }
