"""A frozen batch norm that could not be folded: a scale and a shift per channel.

Forward ``shift + x * scale``; the gradient of the scale is that of a depthwise 1x1 convolution's
weight, which needs no product of full size.
"""

from __future__ import annotations

from functools import partial

from memplan.ir.units import Affine
from memplan.tracing.capture_operators import NAMESPACE
from memplan.tracing.draft import Draft, View, elements

__all__ = ["spell_out_scale_shift"]

_ZERO, _ONE = Affine(0), Affine(1)


def spell_out_scale_shift(draft: Draft) -> None:
    """Rewrite tracing's scale-and-shift operators."""
    for operation in draft.operations:
        plain = operation.plain
        if plain.target == f"{NAMESPACE}.scale_shift.default":
            x, scale, shift = plain.arguments
            rank = len(x.shape)
            plain.target = "aten.addcmul.default"
            plain.arguments = (_channels(shift, rank), x, _channels(scale, rank))
        elif plain.target == f"{NAMESPACE}.scale_gradient.default":
            gy, x = (_four_dimensions(draft, view) for view in plain.arguments)
            channels = x.shape[1].fixed
            result = draft.tensors[operation.writes[0]]
            result.shape, result.strides = (Affine(channels), _ONE, _ONE, _ONE), (_ONE,) * 4
            plain.target = "memplan.conv_weight_gradient"
            plain.arguments = (
                gy, x, (channels, 1, 1, 1), (1, 1), (0, 0), (1, 1), False, (0, 0), channels,
            )  # fmt: skip


def _channels(view: View, rank: int) -> View:
    """Return a vector as (1, C, 1, ...)."""
    trailing = rank - 2
    return View(
        view.tensor,
        (_ONE, view.shape[0], *[_ONE] * trailing),
        (view.shape[0], view.strides[0], *[_ONE] * trailing),
        view.offset,
    )


def _four_dimensions(draft: Draft, view: View) -> View:
    """Return (N, C, ...) as (N, C, H, W)."""
    shape, strides = view.shape, view.strides
    while len(shape) < 4:
        shape, strides = (*shape, _ONE), (*strides, _ONE)
    while len(shape) > 4:
        inner = shape[-1].fixed
        if strides[-2] != strides[-1] * inner or shape[-2].per_sample:
            raise ValueError(f"{view.tensor}: trailing dimensions do not merge")
        merged = draft.affine(partial(elements, shape[-2:]))
        shape = (*shape[:-2], merged)
        strides = (*strides[:-2], strides[-1])
    return View(view.tensor, shape, strides, view.offset)
