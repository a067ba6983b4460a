"""What a block's backward in channel strips costs by itself, without the updates that it covers.

The multiply-accumulates are those of the three input gradients.  Planes are memory as any, and
for each channel the gradient that comes in is read whole and the one that goes out is added to.
"""

from __future__ import annotations

from collections.abc import Callable

from memplan.ir.channel_strips import ChannelStrips
from memplan.ir.dtypes import storage_bytes
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View, elements

__all__ = ["channel_strip_macs", "channel_strip_moved_bytes"]


def channel_strip_macs(draft: Draft, operation: DraftOperation, recipe: Recipe) -> Affine:
    """Return the multiply-accumulates of the three input gradients."""
    strips = ChannelStrips.of(recipe.arguments)
    channels: int = strips.depthwise.shape[0].fixed
    result = draft.tensors[operation.writes[0]]

    def at(count: int) -> int:
        into_planes: int = elements(strips.gy.shape, count) * channels
        samples_and_pixels: int = into_planes // strips.gy.shape[1].fixed
        through_windows = samples_and_pixels * elements(strips.depthwise.shape[2:], count)
        return into_planes + through_windows + elements(result.shape, count) * channels

    return draft.affine(at)


def channel_strip_moved_bytes(
    draft: Draft,
    operation: DraftOperation,
    recipe: Recipe,
    view_bytes: Callable[[View, int], int],
) -> Affine:
    """Return the bytes read and written, what the covered updates move left out."""
    strips = ChannelStrips.of(recipe.arguments)
    channels: int = strips.depthwise.shape[0].fixed
    result = draft.tensors[operation.writes[0]]
    once = (
        strips.project, strips.project_scales, strips.depthwise_bits,
        strips.depthwise, strips.depthwise_scales, strips.expand_bits,
        strips.expand, strips.expand_scales,
    )  # fmt: skip

    def at(count: int) -> int:
        planes = sum(
            elements((shape[0], *shape[2:]), count) for shape in (strips.gy.shape, result.shape)
        )
        total = 2 * channels * storage_bytes(planes, result.dtype)
        total += channels * view_bytes(strips.gy, count)
        total += (2 * channels - 1) * view_bytes(result.whole(), count)
        return total + sum(view_bytes(view, count) for view in once if view is not None)

    return draft.affine(at)
