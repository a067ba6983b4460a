"""The arguments by which operations of an exported forward pass behave as in training."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx

from memplan.tracing.capture_arguments import is_call

__all__ = ["RECURRENCES", "silence_recurrence", "without_chance"]

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
    "scaled_dot_product_attention": (4, 0.0),
}
#: Norms that say at position 5 whether they use the statistics of their input.
_NORMS = ("batch_norm.default", "instance_norm.default")
#: Recurrences with dropout between their layers, and the positions of its probability; whether
#: it is active stands behind.
RECURRENCES = {
    f"{kind}.{overload}": position
    for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    for overload, position in (("input", 5), ("data", 6))
}


def without_chance(forward: fx.GraphModule, *, batch_statistics: bool = False) -> fx.GraphModule:
    """Return a copy with dropout off, whatever mode the model was exported in.

    Args:
        batch_statistics: batch norm normalizes by the batch, else by its running statistics.
            One that has no running statistics uses the batch always.
    """
    quiet = copy.deepcopy(forward)
    for node in quiet.graph.nodes:
        if is_call(node, *_NORMS) and node.args[3] is not None:
            node.update_arg(5, batch_statistics)
        name = getattr(node.target, "_opname", "")
        if is_call(node, *RECURRENCES):
            silence_recurrence(node)
        if name not in _QUIET:
            continue
        position, value = _QUIET[name]
        if len(node.args) > position:
            node.update_arg(position, value)
        elif "dropout_p" in node.kwargs:
            node.update_kwarg("dropout_p", value)
    quiet.recompile()
    return quiet


def silence_recurrence(node: fx.Node) -> None:
    """Turn off the dropout between the layers of a recurrence."""
    position = RECURRENCES[str(node.target).removeprefix("aten.")]
    node.update_arg(position, 0.0)
