"""Scale a broadcast value before it is broadcast.

The gradient of a mean is ``expand`` and then ``div``: done in this order, the division makes a
tensor of full size out of one number per channel.
"""

from __future__ import annotations

from functools import partial

from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, View, contiguous_strides, replace_views
from memplan.tracing.passes.support import BROADCAST_READERS

__all__ = ["sink_broadcasts"]

_ZERO, _ONE = Affine(0), Affine(1)
_SCALED = frozenset(
    {
        "aten.div.Scalar",
        "aten.mul.Scalar",
        "aten.div.Tensor",
        "aten.mul.Tensor",
        "aten.neg.default",
    }
)


def sink_broadcasts(draft: Draft) -> None:
    """Compute scalings of broadcast operands on the distinct elements only."""
    fixed = set(draft.outputs) | {view.tensor for view in draft.gradients.values()}
    readers = draft.readers()
    for operation in draft.operations:
        if operation.target not in _SCALED:
            continue
        x, *others = operation.arguments
        (result,) = operation.writes
        if not isinstance(x, View) or result in fixed or not _is_broadcast(x):
            continue
        if any(isinstance(other, View) and other.shape for other in others):
            continue
        tensor = draft.tensors[result]
        if tensor.shape != x.shape or any(
            not tensor.is_whole(view) or reader.target not in BROADCAST_READERS
            for reader in readers.get(result, ())
            for view in reader.reads()
            if view.tensor == result
        ):
            continue
        compact = tuple(
            _ONE if stride == _ZERO else size
            for size, stride in zip(x.shape, x.strides, strict=True)
        )
        strides = contiguous_strides(draft, compact)
        spread = View(
            result,
            x.shape,
            tuple(
                _ZERO if old == _ZERO else new for old, new in zip(x.strides, strides, strict=True)
            ),
        )
        whole = tensor.whole()
        operation.plain.arguments = (View(x.tensor, compact, x.strides, x.offset), *others)
        tensor.shape, tensor.strides = compact, strides
        tensor.size_bytes = draft.extent_bytes(compact, strides, tensor.dtype)
        for reader in readers.get(result, ()):
            replace_views(reader, partial(_exchanged, whole, spread))


def _exchanged(old: View, new: View, view: View) -> View:
    return new if view == old else view


def _is_broadcast(view: View) -> bool:
    return any(
        stride == _ZERO and size != _ONE
        for size, stride in zip(view.shape, view.strides, strict=True)
    )
