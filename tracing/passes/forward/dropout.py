"""Dropout: gone where it is inactive, else a mask that follows from (seed, operation, sample)."""

from __future__ import annotations

import torch

from memplan.ir.errors import ModelError
from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.capture_operators import operators
from memplan.tracing.settings import TraceSettings

__all__ = ["treat_dropout"]

_ELEMENTS = ("dropout.default", "dropout_.default")
_CHANNELS = ("feature_dropout.default", "feature_dropout_.default")
_UNSUPPORTED = (
    "alpha_dropout.default",
    "alpha_dropout_.default",
    "feature_alpha_dropout.default",
    "feature_alpha_dropout_.default",
)


def treat_dropout(forward: Forward, settings: TraceSettings) -> None:
    """Remove inactive dropouts; give each active one a salt of its own.

    Raises:
        ModelError: an active alpha dropout.
    """
    graph = forward.graph
    for node in list(graph.nodes):
        if not is_call(node, *_ELEMENTS, *_CHANNELS, *_UNSUPPORTED):
            continue
        named = arguments_by_name(node)
        x, probability = named["input" if "input" in named else "self"], float(named["p"])
        if not (settings.trains and named["train"] and probability > 0):
            node.replace_all_uses_with(x)
            graph.erase_node(node)
            continue
        if is_call(node, *_UNSUPPORTED):
            raise ModelError(
                f"{forward.model.name}: active alpha dropout is not supported; export the model in "
                "eval mode"
            )
        with graph.inserting_before(node):
            if is_call(node, *_CHANNELS):
                rank = len(forward.shapes[x.name])
                ones = x
                for _ in range(2, rank):
                    ones = graph.call_function(torch.ops.aten.select.int, (ones, 2, 0))
                ones = graph.call_function(torch.ops.aten.ones_like.default, (ones,))
                mask = graph.call_function(
                    operators.dropout.default, (ones, probability, forward.dropouts)
                )
                for dim in range(2, rank):
                    mask = graph.call_function(torch.ops.aten.unsqueeze.default, (mask, dim))
                replacement = graph.call_function(torch.ops.aten.mul.Tensor, (x, mask))
            else:
                replacement = graph.call_function(
                    operators.dropout.default, (x, probability, forward.dropouts)
                )
        forward.dropouts += 1
        replacement.meta = dict(node.meta)
        node.replace_all_uses_with(replacement)
        graph.erase_node(node)
