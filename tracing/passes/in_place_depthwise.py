"""Let a depthwise convolution of stride 1 be computed over its operand.

Each channel is computed by itself, so a channel's result may take the place of that channel, if the
rows that are needed still are kept: a ring of ``padding + 1`` rows of one channel, as TinyEngine's
in-place depthwise kernels have it.  Where the backward reads masks or slices of the wide tensors of
an inverted residual block, they exist whole, and this halves what the depthwise step needs.
"""

from __future__ import annotations

from typing import Any

from memplan.ir.dtypes import BITS
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View
from memplan.tracing.passes.in_place import fits_in_place

__all__ = ["IN_PLACE_DEPTHWISE", "offer_in_place_depthwise"]

#: Name of the alternative; executors know it by its workspace.
IN_PLACE_DEPTHWISE = "in_place"
#: Target -> position of the number of groups.
_GROUPS = {"aten.convolution.default": 8, "memplan.conv_int8": 6}


def offer_in_place_depthwise(draft: Draft) -> None:
    """Add an alternative ``in_place`` to depthwise convolutions that keep their size."""
    for operation in draft.operations:
        recipe = _in_place(draft, operation)
        if recipe is not None:
            operation.alternatives.append(recipe)


def _in_place(draft: Draft, operation: DraftOperation) -> Recipe | None:
    plain = operation.plain
    groups = _GROUPS.get(plain.target)
    if groups is None or operation.phase != "forward":
        return None
    x, weight, _, stride, padding, *_ = plain.arguments
    if not _is_depthwise(x, weight, plain.arguments[groups]) or tuple(stride) != (1, 1):
        return None
    if plain.target == "aten.convolution.default" and plain.arguments[6]:
        return None  # transposed
    height, width = (size.fixed for size in x.shape[2:])
    rows = min(padding[0] + 1, height)
    item_bytes = BITS[draft.tensors[x.tensor].dtype] // 8
    recipe = Recipe(
        IN_PLACE_DEPTHWISE,
        plain.target,
        plain.arguments,
        dict(plain.keywords),
        workspace_bytes=Affine(rows * width * item_bytes),
        slices=plain.slices,
        axes=plain.axes,
    )
    if not fits_in_place(draft, operation, recipe, x):
        return None
    recipe.in_place = ((x, 0),)
    return recipe


def _is_depthwise(x: Any, weight: Any, groups: int) -> bool:
    return (
        isinstance(x, View)
        and isinstance(weight, View)
        and len(x.shape) == 4
        and all(size.per_sample == 0 for size in x.shape[1:])
        and x.shape[1] == Affine(groups)
        and weight.shape[:2] == (Affine(groups), Affine(1))
    )
