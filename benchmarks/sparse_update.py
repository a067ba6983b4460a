"""A published scheme on a traced graph: as an update mask, and in bytes by the authors' rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.published_schemes import Scheme
from memplan.ir.graph import ChannelAxis, Layer, OpGraph
from memplan.ir.request import LayerUpdate

__all__ = ["AnalyticBytes", "analytic_bytes", "mask_of", "strongest"]


@dataclass(frozen=True, slots=True)
class AnalyticBytes:
    """Bytes beside an inference, as tiny-training's ``partial_backward.py`` counts them.

    Attributes:
        parameters: updated weights at 8 bits and biases at 32; nothing for the classifier.
        saved_inputs: the updated input channels at 8 bits, and the classifier's input.
        masks: one bit per output element of each convolution whose bias is updated.
    """

    parameters: int
    saved_inputs: int
    masks: int

    @property
    def total(self) -> int:
        """Their sum, in bytes."""
        return self.parameters + self.saved_inputs + self.masks


def mask_of(graph: OpGraph, scheme: Scheme) -> tuple[LayerUpdate, ...]:
    """Return the update mask; the classifier is updated whole.

    Of a weight the input channels with the largest L2 norms are taken ("magnitude+"); of a
    depthwise one the channels.  Layers need the norms of ``pipeline.rank_channels``.
    """
    layers, head = _convolutions_and_head(graph)
    counts = _channel_counts(layers, scheme)
    first_bias = len(layers) - scheme.biases
    updates = []
    for index, layer in enumerate(layers):
        count, bias = counts.get(index, 0), index >= first_bias
        axis = _input_axis(layer)
        if count == axis.channels:
            updates.append(LayerUpdate(layer=layer.id, bias=bias, weight="whole"))
        elif count:
            channels = strongest(axis, count)
            updates.append(
                LayerUpdate(layer=layer.id, bias=bias, weight="input", channels=channels)
            )
        elif bias:
            updates.append(LayerUpdate(layer=layer.id, bias=True))
    return (*updates, LayerUpdate(layer=head.id, bias=True, weight="whole"))


def strongest(axis: ChannelAxis, count: int) -> tuple[int, ...]:
    """Return the ``count`` channels of the largest norms, ascending; of equals the first."""
    if len(axis.norms) != axis.channels:
        raise ValueError("the norms of the channels are not known; use pipeline.rank_channels")
    order = sorted(range(axis.channels), key=lambda channel: (-axis.norms[channel], channel))
    return tuple(sorted(order[:count]))


def analytic_bytes(graph: OpGraph, scheme: Scheme) -> AnalyticBytes:
    """Return the bytes of one sample by the authors' rule, from the graph's layers and tensors."""
    layers, head = _convolutions_and_head(graph)
    counts = _channel_counts(layers, scheme)
    parameters, masks = 0, 0
    saved = math.prod(_shapes(graph, head)[0])
    for index in range(len(layers) - scheme.biases, len(layers)):
        layer = layers[index]
        taken, channels = counts.get(index, 0), _input_axis(layer).channels
        weights = layer.parameter_count - layer.bias_parameters
        inputs, outputs = _shapes(graph, layer)
        parameters += 4 * layer.bias_parameters + weights * taken // channels
        saved += math.prod(inputs) * taken // channels
        masks += math.prod(outputs) // 8
    return AnalyticBytes(parameters, saved, masks)


def _convolutions_and_head(graph: OpGraph) -> tuple[list[Layer], Layer]:
    layers = [layer for layer in graph.layers if layer.kind == "convolution"]
    head = graph.layers[-1]
    if len(layers) + 1 != len(graph.layers) or head.kind != "linear":
        raise ValueError(f"{graph.name}: a scheme is for convolutions and one classifier")
    return layers, head


def _input_axis(layer: Layer) -> ChannelAxis:
    return next(axis for axis in layer.axes if axis.name == "input")


def _channel_counts(layers: list[Layer], scheme: Scheme) -> dict[int, int]:
    return {
        index: int(_input_axis(layers[index]).channels * part) for index, part in scheme.weights
    }


def _shapes(graph: OpGraph, layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a layer's input and output for one sample."""
    operation = next(
        operation
        for operation in graph.operations
        if operation.phase == "forward" and operation.layer == layer.id
        if any(read.tensor == layer.weight for read in operation.alternatives[0].reads)
    )
    read = next(
        read
        for read in operation.alternatives[0].reads
        if read.tensor not in (layer.weight, layer.bias)
    )
    inputs = graph.tensor[read.tensor].shape if read.shape is None else read.shape
    outputs = graph.tensor[operation.writes[0]].shape
    return tuple(size.at(1) for size in inputs), tuple(size.at(1) for size in outputs)
