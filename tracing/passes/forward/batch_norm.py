"""Batch norm: folded into the layer before it, a frozen scale and shift, or batch statistics."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from memplan.ir.errors import ModelError
from memplan.ir.graph import WeightSource
from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward, Site
from memplan.tracing.capture_operators import operators
from memplan.tracing.settings import TraceSettings

__all__ = ["treat_batch_norm"]

_CONVOLUTIONS = (
    "conv1d.default",
    "conv2d.default",
    "conv3d.default",
    "conv1d.padding",
    "conv2d.padding",
    "conv3d.padding",
    "convolution.default",
)
_TRANSPOSED = ("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")


def treat_batch_norm(forward: Forward, settings: TraceSettings) -> None:
    """Rewrite every batch norm by the settings.

    Frozen (and in inference) it uses its running statistics: folded into the convolution or
    linear layer before it, whose only reader it must be; else a scale and a shift per channel.
    What is trained is the folded weight.

    Raises:
        ModelError: batch statistics were asked for and a norm has another form.
    """
    statistics = settings.trains and settings.batch_norm == "train"
    _drop_counters(forward)
    for node in list(forward.graph.nodes):
        if not is_call(node, "batch_norm.default"):
            continue
        named = arguments_by_name(node)
        has_running = named["running_mean"] is not None and named["running_var"] is not None
        with forward.graph.inserting_before(node):
            if statistics or not has_running:
                replacement = _over_batch(forward, named, has_running)
            else:
                replacement = _fold(forward, named) or _scale_and_shift(forward, named)
        if replacement.op == "call_function" and replacement is not named["input"]:
            replacement.meta = {**node.meta, **replacement.meta}
        forward.shapes[replacement.name] = forward.shapes[named["input"].name]
        forward.dtypes[replacement.name] = forward.dtypes[named["input"].name]
        node.replace_all_uses_with(replacement)
        forward.graph.erase_node(node)
    forward.graph.eliminate_dead_code()
    if statistics:
        _refuse_spelled_out(forward)


def _refuse_spelled_out(forward: Forward) -> None:
    """Refuse norms that read running statistics and are no batch norm any more."""
    for node in forward.graph.nodes:
        name = forward.attribute_behind(node) or ""
        if name.rpartition(".")[2] not in ("running_mean", "running_var"):
            continue
        reader = next((u for u in node.users if not is_call(u, "instance_norm.default")), None)
        if reader is not None:
            raise ModelError(
                f"{forward.model.name}: {reader.target} reads {name}: this norm cannot use batch "
                "statistics; use batch norm frozen, or export without run_decompositions()"
            )


def _drop_counters(forward: Forward) -> None:
    """Remove ``num_batches_tracked += 1``; the statistics operation counts instead."""
    for node in reversed(list(forward.graph.nodes)):
        if not is_call(node, "add_.Tensor", "add.Tensor", "copy_.default") or not node.args:
            continue
        name = forward.attribute_behind(node.args[0])
        if name is None or not name.endswith("num_batches_tracked"):
            continue
        if all(user.op == "output" for user in node.users) or not node.users:
            if node.users:
                node.replace_all_uses_with(node.args[0])
            forward.graph.erase_node(node)


def _over_batch(forward: Forward, named: dict[str, Any], has_running: bool) -> fx.Node:
    running: tuple[str, ...] = ()
    if has_running:
        names = [forward.attribute_behind(named[key]) for key in ("running_mean", "running_var")]
        if None in names:
            raise ModelError(
                f"{forward.model.name}: running statistics of a batch norm are computed; "
                "use batch norm frozen"
            )
        running = tuple(name for name in names if name is not None)
        counter = running[0].rpartition(".")[0] + ".num_batches_tracked"
        if counter.lstrip(".") in forward.attributes:
            running += (counter.lstrip("."),)
    forward.sites.append(Site(running, float(named["momentum"]), float(named["eps"])))
    graph = forward.graph
    call = graph.call_function(
        operators.batch_norm_train.default,
        (named["input"], named["weight"], named["bias"], named["eps"], len(forward.sites) - 1),
    )
    return graph.call_function(operator.getitem, (call, 0))


def _fold(forward: Forward, named: dict[str, Any]) -> fx.Node | None:
    """Fold a norm into the layer before it; None where that is not provably right."""
    before: fx.Node = named["input"]
    place = _weight_and_bias(forward, before)
    norm = [
        forward.attribute_behind(named[key])
        for key in ("weight", "bias", "running_mean", "running_var")
    ]
    if place is None or len(before.users) != 1 or norm[2] is None or norm[3] is None:
        return None
    if any(named[key] is not None and norm[i] is None for i, key in enumerate(("weight", "bias"))):
        return None
    weight_position, bias_position, transposed = place
    weight = forward.attribute_behind(before.args[weight_position])
    bias_node = before.args[bias_position] if len(before.args) > bias_position else None
    bias = forward.attribute_behind(bias_node)
    if weight is None or (bias_node is not None and bias is None):
        return None
    shared = [weight] + [name for name in (bias, norm[0], norm[1]) if name is not None]
    if any(len(forward.readers_of(name)) != 1 or name in forward.sources for name in shared):
        return None
    gamma, beta, mean, variance = (name or "" for name in norm)
    epsilon = float(named["eps"])
    channels = forward.attributes[mean]
    new_bias = bias
    if new_bias is None:
        trained = any(name in forward.trainable for name in (weight, gamma, beta))
        path = weight.rpartition(".")[0]
        new_bias = forward.add_attribute(f"{path}.bias".lstrip("."), channels, trained)
        with forward.graph.inserting_before(before):
            node = forward.graph.get_attr(new_bias)
        before.args = _with(before.args, bias_position, node)
    elif beta in forward.trainable or gamma in forward.trainable:
        forward.trainable.add(new_bias)
    forward.sources[weight] = WeightSource(
        kind="folded_weight",
        names=(weight, gamma, variance),
        epsilon=epsilon,
        transposed=transposed,
    )
    forward.sources[new_bias] = WeightSource(
        kind="folded_bias", names=(bias or "", beta, gamma, mean, variance), epsilon=epsilon
    )
    return before


def _weight_and_bias(forward: Forward, node: Any) -> tuple[int, int, bool] | None:
    """Return the positions of weight and bias of a layer that a norm can be folded into."""
    if is_call(node, *_CONVOLUTIONS):
        if is_call(node, "convolution.default") and node.args[6]:
            return (1, 2, True) if node.args[8] == 1 else None
        return 1, 2, False
    if is_call(node, *_TRANSPOSED):
        groups = arguments_by_name(node)["groups"]
        return (1, 2, True) if groups == 1 else None
    if is_call(node, "linear.default") and len(forward.shapes[node.name]) == 2:
        return 1, 2, False
    return None


def _scale_and_shift(forward: Forward, named: dict[str, Any]) -> fx.Node:
    """Replace a norm by ``x * scale + shift`` with folded, trainable scale and shift."""
    names = {
        key: forward.attribute_behind(named[key])
        for key in ("weight", "bias", "running_mean", "running_var")
    }
    if any(named[key] is not None and names[key] is None for key in names):
        raise ModelError(
            f"{forward.model.name}: parameters of a batch norm are computed; "
            "use batch norm train, or export the model without that"
        )
    gamma, beta, mean, variance = (names[key] or "" for key in names)
    if any(name and (len(forward.readers_of(name)) != 1) for name in (gamma, beta)):
        raise ModelError(
            f"{forward.model.name}: batch norm {gamma} shares its parameters; use batch norm train"
        )
    path = mean.rpartition(".")[0]
    channels = forward.attributes[mean]
    epsilon = float(named["eps"])
    scale = gamma or forward.add_attribute(f"{path}.weight".lstrip("."), channels, False)
    shift = beta or forward.add_attribute(f"{path}.bias".lstrip("."), channels, False)
    forward.sources[scale] = WeightSource(
        kind="folded_weight", names=("", gamma, variance), epsilon=epsilon
    )
    forward.sources[shift] = WeightSource(
        kind="folded_bias", names=("", beta, gamma, mean, variance), epsilon=epsilon
    )
    graph = forward.graph
    return graph.call_function(
        operators.scale_shift.default,
        (named["input"], graph.get_attr(scale), graph.get_attr(shift)),
    )


def _with(arguments: tuple[Any, ...], position: int, value: Any) -> tuple[Any, ...]:
    padded = list(arguments) + [None] * (position + 1 - len(arguments))
    padded[position] = value
    return tuple(padded)
