"""The arguments by which operations of an exported forward pass behave as in training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx

from memplan.tracing.capture_arguments import is_call

__all__ = ["without_chance"]

#: Position and value of the argument that turns an operation's randomness off.
_QUIET: dict[str, tuple[int, Any]] = {
    "dropout": (2, False),
    "dropout_": (2, False),
    "feature_dropout": (2, False),
    "feature_dropout_": (2, False),
    "alpha_dropout": (2, False),
    "alpha_dropout_": (2, False),
    "feature_alpha_dropout": (2, False),
    "feature_alpha_dropout_": (2, False),
    "native_dropout": (2, False),
    "scaled_dot_product_attention": (4, 0.0),
}
#: Batch norms that say at position 5 whether they use batch statistics.
_BATCH_NORMS = (
    "batch_norm.default",
    "native_batch_norm.default",
    "_native_batch_norm_legit_functional.default",
)
_FROZEN_BATCH_NORM = "_native_batch_norm_legit_no_training.default"


def without_chance(forward: fx.GraphModule, *, batch_statistics: bool = False) -> fx.GraphModule:
    """Return a copy with dropout off, whatever mode the model was exported in.

    Args:
        batch_statistics: batch norm normalizes by the batch, else by its running statistics.
            One that has no running statistics uses the batch always.
    """
    quiet = copy.deepcopy(forward)
    for node in quiet.graph.nodes:
        if is_call(node, *_BATCH_NORMS) and node.args[3] is not None:
            node.update_arg(5, batch_statistics)
        elif is_call(node, _FROZEN_BATCH_NORM) and batch_statistics:
            # The same arguments and results, but for the flag that it lacks.
            node.target = torch.ops.aten.native_batch_norm.default
            node.args = (*node.args[:5], True, *node.args[5:])
        name = getattr(node.target, "_opname", "")
        if name not in _QUIET:
            continue
        position, value = _QUIET[name]
        if len(node.args) > position:
            node.update_arg(position, value)
        elif "dropout_p" in node.kwargs:
            node.update_kwarg("dropout_p", value)
    quiet.recompile()
    return quiet
