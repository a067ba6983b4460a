"""Attention with active dropout, spelled out: its mask must not come from the global generator."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.settings import TraceSettings

__all__ = ["spell_out_attention_dropout"]

aten = torch.ops.aten


def spell_out_attention_dropout(forward: Forward, settings: TraceSettings) -> None:
    """Rewrite scaled_dot_product_attention: without dropout as it is, with dropout in steps."""
    for node in list(forward.graph.nodes):
        if not is_call(node, "scaled_dot_product_attention.default"):
            continue
        named = arguments_by_name(node)
        if named["dropout_p"] == 0:
            continue
        if not settings.trains:
            node.update_arg(4, 0.0) if len(node.args) > 4 else node.update_kwarg("dropout_p", 0.0)
            continue
        with forward.graph.inserting_before(node):
            result = _spelled_out(forward, node, named)
        node.replace_all_uses_with(result)
        forward.graph.erase_node(node)


def _spelled_out(forward: Forward, node: fx.Node, named: dict[str, Any]) -> fx.Node:
    def call(target: Any, *arguments: Any, **keywords: Any) -> fx.Node:
        new = forward.graph.call_function(target, arguments, keywords)
        new.meta = dict(node.meta)
        return new

    query, key, value = named["query"], named["key"], named["value"]
    query_shape, key_shape = forward.shapes[query.name], forward.shapes[key.name]
    if named["enable_gqa"] and query_shape[-3] != key_shape[-3]:
        groups = query_shape[-3] // key_shape[-3]
        key = call(aten.repeat_interleave.self_int, key, groups, -3)
        value = call(aten.repeat_interleave.self_int, value, groups, -3)
    scale = named["scale"] if named["scale"] is not None else 1 / math.sqrt(query_shape[-1])
    scores = call(
        aten.matmul.default,
        call(aten.mul.Scalar, query, scale),
        call(aten.transpose.int, key, -2, -1),
    )
    mask = named["attn_mask"]
    if named["is_causal"]:
        ones = call(
            aten.ones.default, [query_shape[-2], key_shape[-2]], dtype=torch.bool, device="cpu"
        )
        mask = call(aten.tril.default, ones)
        mask_is_boolean = True
    else:
        mask_is_boolean = mask is not None and _is_boolean(forward, mask)
    if mask is not None and mask_is_boolean:
        scores = call(
            aten.masked_fill.Scalar, scores, call(aten.logical_not.default, mask), -math.inf
        )
    elif mask is not None:
        scores = call(aten.add.Tensor, scores, mask)
    weights = call(aten.softmax.int, scores, -1)
    weights = call(aten.dropout.default, weights, named["dropout_p"], True)
    return call(aten.matmul.default, weights, value)


def _is_boolean(forward: Forward, mask: fx.Node) -> bool:
    return forward.dtypes[mask.name] == torch.bool
