"""Operands of which only the shape matters need not live."""

from __future__ import annotations

from memplan.ir.graph import PhantomArgument
from memplan.tracing.draft import Draft, View

__all__ = ["UNREAD", "phantom_operands"]

#: Target -> positions of arguments whose values are never read.
UNREAD: dict[str, tuple[int, ...]] = {
    "aten.max_pool2d_with_indices_backward.default": (1,),
    "aten.max_pool3d_with_indices_backward.default": (1,),
    "aten.adaptive_max_pool2d_backward.default": (1,),
    "aten.avg_pool2d_backward.default": (1,),
    "aten.avg_pool3d_backward.default": (1,),
    "aten._adaptive_avg_pool2d_backward.default": (1,),
    "aten._adaptive_avg_pool3d_backward.default": (1,),
    "aten.nll_loss_backward.default": (1,),
    "aten.nll_loss2d_backward.default": (1,),
    "aten.ones_like.default": (0,),
    "aten.zeros_like.default": (0,),
    "aten.full_like.default": (0,),
    "aten.empty_like.default": (0,),
    "aten.new_zeros.default": (0,),
    "aten.new_ones.default": (0,),
    "aten.new_full.default": (0,),
    "aten.new_empty.default": (0,),
    "aten.new_empty_strided.default": (0,),
    "aten.copy.default": (0,),
    "aten.fill.Scalar": (0,),
}


def phantom_operands(draft: Draft) -> None:
    """Replace operands that are never read by their shapes."""
    for operation in draft.operations:
        for position in UNREAD.get(operation.target, ()):
            arguments = list(operation.arguments)
            view = arguments[position]
            if isinstance(view, View):
                arguments[position] = PhantomArgument(
                    phantom=view.shape,
                    dtype=draft.tensors[view.tensor].dtype,
                )
                operation.plain.arguments = tuple(arguments)
