"""Norm gradients always compute all three results, so that none is undefined.

The gradients of weight and bias are small beside the input's; where there is no weight, ones
stand for it.
"""

from __future__ import annotations

from memplan.tracing.draft import Draft, DraftOperation, View
from memplan.tracing.passes.support import constant_fill

__all__ = ["complete_norm_gradients"]

#: Target -> positions of input, weight and output mask.
_NORMS = {
    "aten.native_group_norm_backward.default": (1, 4, 9),
    "aten.native_batch_norm_backward.default": (1, 2, 9),
}


def complete_norm_gradients(draft: Draft) -> None:
    """Ask for every result, and give the ones that were left out a tensor."""
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        places = _NORMS.get(operation.target)
        if places is None or all(name is not None for name in operation.writes):
            operations.append(operation)
            continue
        x_place, weight_place, mask_place = places
        arguments = list(operation.arguments)
        x: View = arguments[x_place]
        dtype = draft.tensors[x.tensor].dtype
        channels = (x.shape[1],)
        if arguments[weight_place] is None:
            tensor, fill = constant_fill(draft, f"{operation.id}.ones", 1.0, dtype, channels)
            operations.append(fill)
            arguments[weight_place] = tensor.whole()
        arguments[mask_place] = (True, True, True)
        operation.plain.arguments = tuple(arguments)
        shapes = (x.shape, channels, channels)
        operation.writes = tuple(
            name
            if name is not None
            else draft.new_tensor(f"{operation.id}:{index}", "gradient", dtype, shapes[index]).id
            for index, name in enumerate(operation.writes)
        )
        operations.append(operation)
    draft.operations = operations
