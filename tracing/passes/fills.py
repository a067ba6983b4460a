"""No tensor of full size where one number, broadcast, will do."""

from __future__ import annotations

from typing import Any

from memplan.ir.graph import PhantomArgument
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, View, replace_views
from memplan.tracing.passes.support import BROADCAST_READERS, constant_fill, scalar_view

__all__ = ["fills_to_scalars"]

#: Target -> the value it fills with, or the position of that value among the arguments.
_FILLS: dict[str, Any] = {
    "aten.ones_like.default": 1,
    "aten.zeros_like.default": 0,
    "aten.ones.default": 1,
    "aten.zeros.default": 0,
    "aten.new_zeros.default": 0,
    "aten.new_ones.default": 1,
    "aten.full.default": "1",
    "aten.full_like.default": "1",
    "aten.new_full.default": "2",
    "aten.scalar_tensor.default": "0",
    "aten.fill.Scalar": "1",
}


def fills_to_scalars(draft: Draft) -> None:
    """Make each filled tensor a constant of one element that its readers broadcast."""
    kept_whole = set(draft.outputs) | {view.tensor for view in draft.gradients.values()}
    for operation in draft.operations:
        if operation.target not in BROADCAST_READERS:
            kept_whole.update(view.tensor for view in operation.reads() if view.shape)
    scalars: dict[tuple[str, str], DraftTensor] = {}
    replaced: dict[str, DraftTensor] = {}
    fills: list[DraftOperation] = []
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        value = _value(operation)
        if value is None or not kept_whole.isdisjoint(operation.writes):
            operations.append(operation)
            continue
        (result,) = operation.writes
        dtype = draft.tensors[result].dtype
        key = (repr(value), dtype)
        if key not in scalars:
            scalars[key], fill = constant_fill(draft, f"fill_{len(scalars)}", value, dtype)
            fills.append(fill)
        replaced[result] = scalars[key]

    def broadcast(view: View) -> View:
        scalar = replaced.get(view.tensor)
        return view if scalar is None else scalar_view(scalar, view.shape)

    if not replaced:
        return
    for operation in operations:
        replace_views(operation, broadcast)
    for name in replaced:
        del draft.tensors[name]
    draft.operations = fills + operations


def _value(operation: DraftOperation) -> Any:
    """Return the number an operation fills with; None if it is no fill of a known number."""
    found = _FILLS.get(operation.target)
    if found is None:
        return None
    if isinstance(found, str):
        position = int(found)
        found = operation.arguments[position] if position < len(operation.arguments) else None
        if isinstance(found, bool | int | float):
            return found
        return None
    if any(isinstance(argument, View) for argument in operation.arguments):
        return None  # a shape operand that was not made a phantom
    assert not operation.arguments or isinstance(operation.arguments[0], tuple | PhantomArgument)
    return found
