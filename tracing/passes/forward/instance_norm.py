"""Instance norm as group norm with one channel per group: the same numbers, sample by sample."""

from __future__ import annotations

import torch

from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.settings import TraceSettings

__all__ = ["instance_norm_to_group_norm"]


def instance_norm_to_group_norm(forward: Forward, settings: TraceSettings) -> None:
    """Rewrite instance norms over input statistics, which torch computes as a batch norm.

    One with running statistics uses these, as in eval mode, unless the settings say otherwise.
    """
    statistics = settings.trains and settings.batch_norm == "train"
    for node in list(forward.graph.nodes):
        if not is_call(node, "instance_norm.default"):
            continue
        named = arguments_by_name(node)
        if named["running_mean"] is not None and not statistics:
            node.update_arg(5, False)
            continue
        if not named["use_input_stats"] or named["running_mean"] is not None:
            continue
        x = named["input"]
        with forward.graph.inserting_before(node):
            replacement = forward.graph.call_function(
                torch.ops.aten.group_norm.default,
                (x, forward.shapes[x.name][1], named["weight"], named["bias"], named["eps"]),
            )
        replacement.meta = dict(node.meta)
        node.replace_all_uses_with(replacement)
        forward.graph.erase_node(node)
