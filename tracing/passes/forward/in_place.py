"""In-place activations and sums as what they compute, where nothing aliases the overwritten tensor.

``torch.func.functionalize`` can do the same for every case, but traces the whole step again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from memplan.tracing.capture_arguments import is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.capture_operators import NAMESPACE
from memplan.tracing.settings import TraceSettings

__all__ = ["in_place_to_functional"]

aten = torch.ops.aten
_FUNCTIONAL: dict[str, Any] = {
    "relu_.default": aten.relu.default,
    "relu6_.default": aten.relu6.default,
    "hardtanh_.default": aten.hardtanh.default,
    "silu_.default": aten.silu.default,
    "hardswish_.default": aten.hardswish.default,
    "hardsigmoid_.default": aten.hardsigmoid.default,
    "leaky_relu_.default": aten.leaky_relu.default,
    "elu_.default": aten.elu.default,
    "sigmoid_.default": aten.sigmoid.default,
    "tanh_.default": aten.tanh.default,
    "add_.Tensor": aten.add.Tensor,
    "sub_.Tensor": aten.sub.Tensor,
    "mul_.Tensor": aten.mul.Tensor,
}
#: Operations whose result never shares bytes with an operand.
_FRESH = frozenset(
    {
        "conv1d.default", "conv2d.default", "conv2d.padding", "conv3d.default",
        "conv_transpose2d.input", "convolution.default", "linear.default", "addmm.default",
        "batch_norm.default", "group_norm.default", "layer_norm.default",
        "relu.default", "relu6.default", "hardtanh.default", "silu.default", "hardswish.default",
        "hardsigmoid.default", "leaky_relu.default", "elu.default", "sigmoid.default",
        "tanh.default", "gelu.default", "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor",
        "cat.default", "mean.dim", "max_pool2d.default", "avg_pool2d.default",
        "adaptive_avg_pool2d.default", "upsample_bilinear2d.vec", "upsample_nearest2d.vec",
    }
)  # fmt: skip


def in_place_to_functional(forward: Forward, settings: TraceSettings) -> None:
    """Rewrite the in-place calls that are provably alone with their operand."""
    order = {node: position for position, node in enumerate(forward.graph.nodes)}
    for node in list(forward.graph.nodes):
        if not is_call(node, *_FUNCTIONAL):
            continue
        x = node.args[0]
        if not _is_fresh(x) or not all(
            user is node
            or _is_fresh(user)
            # A later in-place call on the same tensor will read this one's result.
            or (is_call(user, *_FUNCTIONAL) and order[user] > order[node])
            for user in x.users
        ):
            continue
        other = node.args[1] if len(node.args) > 1 else None
        if isinstance(other, fx.Node) and (
            forward.dtypes.get(other.name) != forward.dtypes.get(x.name) or other is x
        ):
            continue
        node.target = _FUNCTIONAL[str(node.target).removeprefix("aten.")]
        for user in list(x.users):
            if user is not node and order.get(user, -1) > order[node]:
                user.replace_input_with(x, node)


def _is_fresh(node: Any) -> bool:
    if not isinstance(node, fx.Node):
        return False
    if node.op == "output":
        return True
    if node.op != "call_function":
        return False
    return is_call(node, *_FRESH) or getattr(node.target, "namespace", "") == NAMESPACE
