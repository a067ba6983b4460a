"""What depends on neither samples nor trained weights is computed once, when weights are loaded."""

from __future__ import annotations

from memplan.tracing.draft import Draft

__all__ = ["mark_constants"]

_NEVER = frozenset({"memplan.dropout", "memplan.dropout_backward"})


def mark_constants(draft: Draft) -> None:
    """Move operations without varying operands to the phase ``constant``.

    Outputs and gradients stay where they are, as does what reads a parameter: its value may
    change, and what follows from it would need bytes of its own.
    """
    changing = {name for operation in draft.operations for name in operation.mutates}
    fixed = set(draft.outputs) | {view.tensor for view in draft.gradients.values()}
    for operation in draft.operations:
        if operation.phase == "constant":
            continue
        if (
            operation.mutates
            or operation.target in _NEVER
            or not fixed.isdisjoint(operation.writes)
            or any(
                draft.tensors[view.tensor].role != "constant" or view.tensor in changing
                for view in operation.reads()
            )
        ):
            continue
        operation.phase = "constant"
        operation.recomputable = False
        for name in operation.writes:
            draft.tensors[name].role = "constant"
    draft.operations.sort(key=lambda operation: operation.phase != "constant")
