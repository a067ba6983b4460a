"""Passes over the draft, each small and named, in the order in which they run.

A pass that cannot prove itself right on a graph leaves the graph alone.  A new pass is one file
and one line here.
"""

from __future__ import annotations

from collections.abc import Callable

from memplan.tracing.draft import Draft
from memplan.tracing.passes.activation_output import activation_needs_output
from memplan.tracing.passes.broadcasts import sink_broadcasts
from memplan.tracing.passes.channel_strips import offer_channel_strips
from memplan.tracing.passes.constants import mark_constants
from memplan.tracing.passes.convolution_backward import split_convolution_backward
from memplan.tracing.passes.dead import drop_dead_operations
from memplan.tracing.passes.elementwise import fuse_elementwise_chains
from memplan.tracing.passes.embedding_backward import embedding_weight_gradient
from memplan.tracing.passes.fills import fills_to_scalars
from memplan.tracing.passes.fused_updates import offer_fused_updates
from memplan.tracing.passes.identities import drop_identities
from memplan.tracing.passes.in_place import mark_in_place_pairs
from memplan.tracing.passes.in_place_depthwise import offer_in_place_depthwise
from memplan.tracing.passes.layer_norm_backward import split_layer_norm_backward
from memplan.tracing.passes.linear_backward import linear_weight_gradient
from memplan.tracing.passes.mask_bits import offer_mask_bits
from memplan.tracing.passes.max_pool import max_pool_positions
from memplan.tracing.passes.names import give_readable_names
from memplan.tracing.passes.norm_masks import complete_norm_gradients
from memplan.tracing.passes.phantoms import phantom_operands
from memplan.tracing.passes.row_strips import offer_row_strips
from memplan.tracing.passes.saved_slices import offer_saved_slices
from memplan.tracing.passes.scale_shift import spell_out_scale_shift

__all__ = ["PASSES_AFTER_LAYERS", "PASSES_AFTER_OPTIMIZER", "PASSES_BEFORE_LAYERS"]

Pass = Callable[[Draft], None]

PASSES_BEFORE_LAYERS: tuple[Pass, ...] = (
    drop_dead_operations,
    spell_out_scale_shift,
    split_convolution_backward,
    split_layer_norm_backward,
    complete_norm_gradients,
    linear_weight_gradient,
    embedding_weight_gradient,
    max_pool_positions,
    activation_needs_output,
    phantom_operands,
    drop_identities,
    fills_to_scalars,
    sink_broadcasts,
    drop_dead_operations,
    mark_constants,
)
PASSES_AFTER_LAYERS: tuple[Pass, ...] = (
    fuse_elementwise_chains,
    offer_saved_slices,
    offer_mask_bits,
)
PASSES_AFTER_OPTIMIZER: tuple[Pass, ...] = (
    offer_fused_updates,
    mark_in_place_pairs,
    offer_in_place_depthwise,
    give_readable_names,
    offer_row_strips,
    offer_channel_strips,
)
