"""Which elements of a weight belong to a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from memplan.ir.graph import AxisName, Layer, OpGraph
from memplan.tracing.capture_arguments import arguments_by_name, is_call
from memplan.tracing.capture_forward import Forward

__all__ = ["affine_parts", "Channels", "axis_dimensions", "channels_of", "sum_but"]

_TRANSPOSED_CONVOLUTIONS = (
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input",
)  # fmt: skip
_INPUT_FIRST = ("addmm.default", "mm.default", "bmm.default", "baddbmm.default", "matmul.default")
_TRANSPOSING = ("t.default", "transpose.int", "permute.default", "numpy_T.default")


@dataclass(frozen=True, slots=True)
class Channels:
    """Dimensions of a layer's weight.

    ``output`` is the dimension of its output channels, None where every element of the (one-
    dimensional) weight is a channel.  A transposed convolution in groups holds the output
    channels of group i in rows of its input channels: ``groups`` splits dimension 0.
    """

    output: int | None
    axes: dict[AxisName, int]
    groups: int = 1

    def sums(self, axis: AxisName, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of each channel's elements along an axis of the layer."""
        return sum_but(values, self.axes[axis])

    def output_sums(
        self, weight: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return the sum of each output channel's elements of weight and bias."""
        total: torch.Tensor | None = None
        if weight is not None:
            if self.output is None or weight.dim() < 2:
                total = weight.flatten()
            elif self.groups > 1:
                split = weight.reshape(self.groups, -1, *weight.shape[1:])
                total = split.movedim(2, 1).flatten(2).sum(2).flatten()
            else:
                total = sum_but(weight, self.output)
        if bias is None:
            return total
        flat = bias.flatten()
        if total is None:
            return flat
        return total + flat if total.shape == flat.shape else torch.cat([total, flat])


def axis_dimensions(layer: Layer, graph: OpGraph) -> dict[AxisName, int]:
    """Return the dimension of the layer's weight that each of its axes cuts."""
    if layer.weight is None:
        return {}
    cuts = graph.tensor[layer.weight].slices
    return {cut.axis: cut.dim for cut in cuts if cut.dim is not None}


def channels_of(layer: Layer, graph: OpGraph, forward: Forward) -> Channels:
    """Find the channels of a layer's weight in the forward graph."""
    axes = axis_dimensions(layer, graph)
    if layer.weight is None:
        return Channels(None, axes)
    if "output" in axes:
        return Channels(axes["output"], axes)
    if layer.kind in ("normalization", "parameter", "embedding"):
        rank = len(graph.tensor[layer.weight].shape)
        return Channels(rank - 1 if rank > 1 else None, axes)
    reader, turned = _reader(forward, layer.weight)
    if reader is None:
        return Channels(0, axes)
    if is_call(reader, *_TRANSPOSED_CONVOLUTIONS):
        return Channels(1, axes, int(arguments_by_name(reader)["groups"]))
    if is_call(reader, "convolution.default") and arguments_by_name(reader)["transposed"]:
        return Channels(1, axes, int(arguments_by_name(reader)["groups"]))
    if is_call(reader, *_INPUT_FIRST):
        rank = len(graph.tensor[layer.weight].shape)
        return Channels(rank - 2 if turned else rank - 1, axes)
    return Channels(0, axes)


def affine_parts(layer: Layer, forward: Forward) -> tuple[str | None, str | None]:
    """Return the names of a layer's weight and bias, also where one of them is frozen."""
    known = layer.weight or layer.bias
    reader, _ = _reader(forward, known) if known is not None else (None, False)
    if reader is None or not isinstance(reader.target, torch._ops.OpOverload):
        return layer.weight, layer.bias
    named = arguments_by_name(reader)
    if layer.kind == "parameter" or "weight" not in named or "bias" not in named:
        return layer.weight, layer.bias
    weight, bias = (forward.attribute_behind(named[key]) for key in ("weight", "bias"))
    return layer.weight or weight, layer.bias or bias


def _reader(forward: Forward, weight: str) -> tuple[fx.Node | None, bool]:
    """Return the operation that multiplies by a weight, and whether it is transposed before."""
    readers: list[Any] = forward.readers_of(weight)
    turned = False
    while readers and is_call(readers[0], *_TRANSPOSING):
        turned = not turned
        readers = list(readers[0].users)
    return (readers[0] if readers else None), turned


def sum_but(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the sum over all dimensions but one."""
    return values.movedim(dim, 0).flatten(1).sum(1) if values.dim() > 1 else values
