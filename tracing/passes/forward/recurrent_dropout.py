"""Dropout between the layers of an LSTM, GRU or RNN: layer by layer, so that it is a dropout."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import ModelError
from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward
from memplan.tracing.settings import TraceSettings
from memplan.tracing.training_flags import RECURRENCES, silence_recurrence

__all__ = ["spell_out_recurrent_dropout"]

aten = torch.ops.aten


def spell_out_recurrent_dropout(forward: Forward, settings: TraceSettings) -> None:
    """Turn off the dropout of a recurrence in inference; in training, take its layers apart.

    Raises:
        ModelError: a recurrence over packed sequences has active dropout.
    """
    for node in list(forward.graph.nodes):
        if not is_call(node, *RECURRENCES):
            continue
        named = arguments_by_name(node)
        active = settings.trains and named["train"] and named["dropout"] > 0
        if not active or named["num_layers"] < 2:
            silence_recurrence(node)
            continue
        if "batch_first" not in named:
            raise ModelError(
                f"{forward.model.name}: {node.target} has active dropout over packed sequences, "
                "which is not supported; export the model in eval mode"
            )
        with forward.graph.inserting_before(node):
            results = _layer_by_layer(forward.graph, node, named)
        for user in list(node.users):
            user.replace_all_uses_with(results[user.args[1]])
            forward.graph.erase_node(user)
        forward.graph.erase_node(node)


def _layer_by_layer(graph: fx.Graph, node: fx.Node, named: dict[str, Any]) -> list[fx.Node]:
    def call(target: Any, *arguments: Any) -> fx.Node:
        new = graph.call_function(target, arguments)
        new.meta = dict(node.meta)
        return new

    layers, parameters = named["num_layers"], named["params"]
    per_layer = len(parameters) // layers
    directions = 2 if named["bidirectional"] else 1
    # An LSTM has two states, in a list; the others have one.
    is_list = isinstance(named["hx"], (list, tuple))
    states = list(named["hx"]) if is_list else [named["hx"]]
    x, last = named["input"], []
    for layer in range(layers):
        if layer:
            x = call(aten.dropout.default, x, named["dropout"], True)
        first = layer * directions
        own = [call(aten.slice.Tensor, state, 0, first, first + directions) for state in states]
        step = call(
            node.target, x, own if is_list else own[0],
            list(parameters[layer * per_layer : (layer + 1) * per_layer]),
            named["has_biases"], 1, 0.0, False, named["bidirectional"], named["batch_first"],
        )  # fmt: skip
        x = call(operator.getitem, step, 0)
        last.append([call(operator.getitem, step, 1 + index) for index in range(len(states))])
    return [x, *(call(aten.cat.default, list(of_layers)) for of_layers in zip(*last, strict=True))]
