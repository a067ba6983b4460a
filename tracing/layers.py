"""Layers: operations with parameters, what an update mask chooses from.

Every trainable parameter belongs to exactly one layer: that of the first operation that reads
it.  A parameter that several operations read (tied weights) cannot be updated in part, as its
gradient is a sum.  A parameter that no layer's operation reads (class tokens, position
embeddings, layer scales) is a layer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.graph import AxisName, AxisSize, ChannelAxis, Layer, LayerKind
from memplan.ir.units import Affine
from memplan.tracing.costs import macs_of
from memplan.tracing.draft import Draft, DraftOperation, View, elements

__all__ = ["assign_layers"]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Where an operation's arguments hold weight and bias."""

    kind: LayerKind
    weight: int | None
    bias: int | None


_PATTERNS = {
    "aten.convolution.default": _Pattern("convolution", 1, 2),
    "aten.addmm.default": _Pattern("linear", 2, 0),
    "aten.mm.default": _Pattern("linear", 1, None),
    "aten.bmm.default": _Pattern("linear", 1, None),
    "aten.baddbmm.default": _Pattern("linear", 2, 0),
    "aten.embedding.default": _Pattern("embedding", 0, None),
    "aten.native_layer_norm.default": _Pattern("normalization", 2, 3),
    "aten.native_group_norm.default": _Pattern("normalization", 1, 2),
    "aten._fused_rms_norm.default": _Pattern("normalization", 2, None),
    "memplan.batch_norm_train": _Pattern("normalization", 1, 2),
    "aten.addcmul.default": _Pattern("normalization", 2, 0),
}


def assign_layers(draft: Draft) -> None:
    """Find the layers of a draft and tell every operation and tensor which one it belongs to."""
    readers = draft.readers()
    trainable = set(draft.gradients)
    if not trainable:  # inference: every parameter counts, none is cut
        trainable = {name for name, tensor in draft.tensors.items() if tensor.role == "parameter"}
    owner: dict[str, str] = {}
    found: dict[str, _Found] = {}
    for operation in draft.operations:
        if operation.phase != "forward":
            continue
        pattern = _PATTERNS.get(operation.target)
        weight = _parameter(operation, pattern.weight, trainable) if pattern else None
        bias = _parameter(operation, pattern.bias, trainable) if pattern else None
        weight = None if weight in owner else weight
        bias = None if bias in owner else bias
        if pattern is not None and (weight or bias):
            layer = _Found(_unique(_path(weight or bias or ""), found), pattern.kind, operation)
            layer.weight, layer.bias = weight, bias
            found[layer.id] = layer
            operation.layer = layer.id
            for name in (weight, bias):
                if name is not None:
                    owner[name] = layer.id
    by_origin = {layer.operation.origin: layer for layer in found.values()}
    for name in [name for name in draft.tensors if name in trainable and name not in owner]:
        reading = [op for op in readers.get(name, []) if op.phase == "forward"]
        if not reading:
            continue
        host = by_origin.get(reading[0].origin)
        if host is not None and host.bias is None and host.weight is not None:
            host.bias = name  # a linear layer that torch computes as product and sum
            owner[name] = host.id
            continue
        lone = _Found(_unique(name, found), "parameter", reading[0])
        lone.weight = name
        found[lone.id] = lone
        owner[name] = lone.id
        if reading[0].layer is None:
            reading[0].layer = lone.id
    _describe(draft, found, owner, readers)


@dataclass(slots=True)
class _Found:
    id: str
    kind: LayerKind
    operation: DraftOperation
    weight: str | None = None
    bias: str | None = None


def _parameter(operation: DraftOperation, position: int | None, trainable: set[str]) -> str | None:
    if position is None or position >= len(operation.arguments):
        return None
    argument = operation.arguments[position]
    if isinstance(argument, View) and argument.tensor in trainable:
        return argument.tensor
    return None


def _path(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter


def _unique(name: str, taken: dict[str, _Found]) -> str:
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}.{count}"
    return unique


def _describe(
    draft: Draft,
    found: dict[str, _Found],
    owner: dict[str, str],
    readers: dict[str, list[DraftOperation]],
) -> None:
    producers = draft.producers()
    for layer in found.values():
        axes: tuple[ChannelAxis, ...] = ()
        if layer.weight is not None:
            weight = draft.tensors[layer.weight]
            slices = _weight_slices(draft, layer, readers, producers)
            weight.layer, weight.slices = layer.id, slices
            axes = tuple(ChannelAxis(name=cut.axis, channels=cut.channels) for cut in slices)
        if layer.bias is not None:
            draft.tensors[layer.bias].layer = layer.id
        macs = Affine(0)
        for reader in readers.get(layer.weight or "", []):
            if reader.phase == "forward":
                macs += macs_of(draft, reader, reader.plain)
        counts = {
            name: elements(draft.tensors[name].shape, 1)
            for name in (layer.weight, layer.bias)
            if name is not None
        }
        draft.layers.append(
            Layer(
                id=layer.id,
                kind=layer.kind,
                weight=layer.weight,
                bias=layer.bias,
                parameter_count=max(1, sum(counts.values())),
                bias_parameters=counts.get(layer.bias or "", 0),
                forward_macs=macs,
                axes=axes,
            )
        )
    for name, view in draft.gradients.items():
        producer = producers.get(view.tensor)
        if (
            name in owner
            and producer is not None
            and producer.phase == "backward"
            and producer.layer is None
            and len(producer.writes) == 1
            and view.tensor not in readers
        ):
            producer.layer = owner[name]


def _weight_slices(
    draft: Draft,
    layer: _Found,
    readers: dict[str, list[DraftOperation]],
    producers: dict[str, DraftOperation],
) -> tuple[AxisSize, ...]:
    """Return the axes along which a weight may be cut, by dimension of the weight.

    Only where its gradient is computed by one operation that knows how to take a slice, and
    where nothing else reads weight or gradient.
    """
    assert layer.weight is not None
    weight = draft.tensors[layer.weight]
    gradient = draft.gradients.get(layer.weight)
    if gradient is None:
        return ()
    producer = producers.get(gradient.tensor)
    forward = [op for op in readers.get(layer.weight, []) if op.phase == "forward"]
    if producer is None or len(forward) != 1 or gradient.tensor in readers:
        return ()
    if not draft.tensors[gradient.tensor].is_whole(gradient) or gradient.shape != weight.shape:
        return ()
    if list(draft.gradients.values()).count(gradient) != 1:
        return ()
    sizes = [dimension.fixed for dimension in weight.shape]
    if layer.kind == "convolution" and producer.target == "memplan.conv_weight_gradient":
        transposed, groups = producer.arguments[6], producer.arguments[8]
        if transposed:
            return ()
        if groups == 1:
            return _axes(("input", sizes[1], 1), ("output", sizes[0], 0))
        channels = producer.arguments[1].shape[1].fixed
        if groups == channels == sizes[0] and sizes[1] == 1:
            return _axes(("input", sizes[0], 0))
    if layer.kind == "linear" and producer.target == "memplan.linear_weight_gradient":
        operand = layer.operation.arguments[1 if layer.operation.target == "aten.mm.default" else 2]
        if operand.shape != tuple(reversed(weight.shape)) or operand.strides != tuple(
            reversed(weight.strides)
        ):
            return ()  # stored the other way round, as in GPT-2's Conv1D
        return _axes(("input", sizes[1], 1), ("output", sizes[0], 0))
    if layer.kind == "embedding" and producer.target == "memplan.embedding_weight_gradient":
        return _axes(("output", sizes[1], 1))
    return ()


def _axes(*found: tuple[AxisName, int, int]) -> tuple[AxisSize, ...]:
    return tuple(
        AxisSize(axis=name, channels=channels, dim=dim)
        for name, channels, dim in found
        if channels > 1
    )
