"""Compute the input gradient of an inverted residual block channel by channel.

Of a block of a pointwise, a depthwise and a pointwise convolution, with clamps between them, the
backward pass needs the wide gradients one plane at a time: each plane gives its part of the input
gradient, of the two biases inside, and a row of the first weight's gradient.  So the operation
that yields the input gradient gets alternatives that read the narrow gradient, weights and masks
of one bit, and that perform the updates that would need the wide gradients (``Recipe.covers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from memplan.ir.channel_strips import (
    CHANNEL_STRIPS,
    ChannelStrips,
    CoveredUpdate,
    Window,
    Workspace,
)
from memplan.ir.dtypes import BITS
from memplan.ir.graph import Phase, UpdatedAxis
from memplan.ir.units import Affine
from memplan.tracing.draft import Draft, DraftOperation, DraftTensor, Recipe, View

__all__ = ["offer_channel_strips"]

_INPUT_GRADIENTS = ("memplan.conv_input_gradient", "memplan.conv_input_gradient_int8w")
_WEIGHT_GRADIENTS = ("memplan.conv_weight_gradient", "memplan.conv_weight_gradient_int8x")
_PHASES: tuple[Phase, ...] = ("update", "accumulate")

Pair = tuple[int, int]


def offer_channel_strips(draft: Draft) -> None:
    """Add alternatives ``strips``, ``strips_biases_update``, ... to input gradients of blocks."""
    backward = _Backward(draft)
    for operation in draft.operations:
        block = backward.block_of(operation)
        if block is not None:
            operation.layer = block.layer or operation.layer
            operation.alternatives += block.ways()


@dataclass(frozen=True, slots=True)
class _Serving:
    """The update, or the accumulation, of a parameter."""

    id: str
    update: CoveredUpdate


@dataclass(frozen=True, slots=True)
class _WeightWay:
    """How the gradient of the expanding weight reads the saved input."""

    name: str
    x: View
    scale: float | None
    zero_point: int | None
    axes: tuple[UpdatedAxis, ...] | None


@dataclass(frozen=True, slots=True)
class _Block:
    """A block, and what the mask may have updated in it."""

    #: Without updates.
    strips: ChannelStrips
    window: Window
    result: DraftTensor
    #: Of the depthwise and of the expanding convolution, by phase.
    biases: Mapping[Phase, tuple[_Serving | None, _Serving | None]]
    weight: Mapping[Phase, _Serving | None]
    weight_ways: tuple[_WeightWay, ...]
    #: Of the expanding convolution, where its weight may be updated.
    layer: str | None

    def ways(self) -> Iterator[Recipe]:
        """Yield the alternatives: without updates, then by phase with biases, weight, or both."""
        nothing = (None, None)
        yield self._way("strips", nothing)
        for phase in _PHASES:
            biases, weight = self.biases[phase], self.weight[phase]
            if biases != nothing:
                yield self._way(f"strips_biases_{phase}", biases)
            if weight is None:
                continue
            for way in self.weight_ways:
                yield self._way(f"strips_{way.name}_{phase}", nothing, weight, way)
                if biases != nothing:
                    name = f"strips_{way.name}_biases_{phase}"
                    yield self._way(name, biases, weight, way)

    def _way(
        self,
        name: str,
        biases: tuple[_Serving | None, _Serving | None],
        weight: _Serving | None = None,
        saved: _WeightWay | None = None,
    ) -> Recipe:
        serving = (*biases, weight)
        depthwise_bias, expand_bias, expand_weight = (
            None if one is None else one.update for one in serving
        )
        strips = replace(
            self.strips,
            depthwise_bias=depthwise_bias,
            expand_bias=expand_bias,
            expand_weight=expand_weight,
        )
        row = 0
        if saved is not None:
            strips = replace(strips, x=saved.x, x_scale=saved.scale, x_zero_point=saved.zero_point)
            row = self.result.shape[1].fixed
        height, width = (size.fixed for size in self.result.shape[2:])
        workspace = Workspace.of(self.window, (height, width), row)
        return Recipe(
            name,
            CHANNEL_STRIPS,
            strips.as_arguments(),
            workspace_bytes=Affine(workspace.elements * BITS[self.result.dtype] // 8),
            axes=None if saved is None else saved.axes,
            covers=tuple(one.id for one in serving if one is not None),
        )


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution, as the operation that gives its input gradient says it."""

    gy: View
    weight: View
    scales: View | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def kernel(self) -> Pair:
        rows, columns = self.weight.shape[2:]
        return rows.fixed, columns.fixed

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a matrix product per sample."""
        return (self.groups, self.kernel, self.stride, self.padding) == (1, (1, 1), (1, 1), (0, 0))

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is computed by itself."""
        return self.weight.shape[:2] == (Affine(self.groups), Affine(1))


class _Backward:
    """What a block is found by."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.producers = draft.producers()
        self.serving = {
            (operation.phase, operation.parameter): operation for operation in draft.operations
        }
        self.layers = {layer.weight: layer.id for layer in draft.layers if layer.weight}
        #: Biases of convolutions by the gradient that is summed up for them.
        self.biases: dict[View, str] = {}
        for parameter, view in draft.gradients.items():
            producer = self.producers.get(view.tensor)
            if producer is not None and self._is_sum_over_pixels(producer, parameter):
                self.biases[producer.arguments[0]] = parameter

    def _is_sum_over_pixels(self, operation: DraftOperation, parameter: str) -> bool:
        if operation.target != "aten.sum.dim_IntList":
            return False
        gy, dims, *rest = operation.arguments
        return (
            tuple(dims) == (0, 2, 3)
            and not any(rest)
            and self.draft.tensors[parameter].shape == gy.shape[1:2]
        )

    def block_of(self, operation: DraftOperation) -> _Block | None:
        """Return the block whose input gradient an operation yields, if it is one."""
        expand = self._convolution(operation)
        if expand is None or not expand.is_pointwise:
            return None
        depthwise, expand_bits = self._before(expand)
        if depthwise is None or not depthwise.is_depthwise:
            return None
        project, depthwise_bits = self._before(depthwise)
        if project is None or not project.is_pointwise:
            return None
        result = self.draft.tensors[operation.writes[0]]
        strips = ChannelStrips(
            project.gy, project.weight, project.scales, depthwise_bits,
            depthwise.weight, depthwise.scales, expand_bits, expand.weight, expand.scales,
            None, None, None, depthwise.stride, depthwise.padding, depthwise.dilation,
        )  # fmt: skip
        ways, layer = self._weight_ways(operation, expand, result)
        return _Block(
            strips,
            strips.window(depthwise.kernel),
            result,
            {
                phase: (
                    self._serve(phase, self.biases.get(depthwise.gy)),
                    self._serve(phase, self.biases.get(expand.gy)),
                )
                for phase in _PHASES
            },
            {
                phase: self._serve(phase, expand.weight.tensor) if ways else None
                for phase in _PHASES
            },
            ways,
            layer,
        )

    def _convolution(self, operation: DraftOperation) -> _Convolution | None:
        if operation.target not in _INPUT_GRADIENTS or len(operation.writes) != 1:
            return None
        gy, weight, _, stride, padding, dilation, transposed, _, groups, *scales = (
            operation.arguments
        )
        result = self.draft.tensors[operation.writes[0]]
        real = self.draft.tensors[weight.tensor].dtype == result.dtype
        if transposed or len(weight.shape) != 4 or not (real or scales):
            return None
        if not self.draft.tensors[weight.tensor].is_whole(weight):
            return None
        sizes = (*gy.shape[1:], *weight.shape, *result.shape[1:])
        if any(size.per_sample for size in sizes):
            return None
        return _Convolution(
            gy, weight, scales[0] if scales else None, stride, padding, dilation, groups
        )

    def _before(self, convolution: _Convolution) -> tuple[_Convolution | None, View | None]:
        """Return the convolution behind one in the forward pass, and the mask between them."""
        gy, bits = convolution.gy, None
        producer = self._whole_producer(gy)
        for way in producer.alternatives if producer is not None else ():
            if way.target == "memplan.apply_bits":
                gy, bits = way.arguments
                producer = self._whole_producer(gy)
                break
        return (None if producer is None else self._convolution(producer)), bits

    def _whole_producer(self, view: View) -> DraftOperation | None:
        return (
            self.producers.get(view.tensor)
            if self.draft.tensors[view.tensor].is_whole(view)
            else None
        )

    def _weight_ways(
        self, operation: DraftOperation, expand: _Convolution, result: DraftTensor
    ) -> tuple[tuple[_WeightWay, ...], str | None]:
        """Return the ways of the expanding weight's gradient, and the layer of its mask."""
        weight = expand.weight.tensor
        layer = self.layers.get(weight)
        view = self.draft.gradients.get(weight)
        producer = None if view is None else self._whole_producer(view)
        if (
            layer is None
            or operation.layer not in (None, layer)
            or producer is None
            or producer.target not in _WEIGHT_GRADIENTS
            or producer.arguments[0] != expand.gy
        ):
            return (), None
        ways = []
        for recipe in producer.alternatives:
            _, x, *_ = recipe.arguments
            if recipe.target != producer.target or x.shape != result.shape:
                continue
            quantized = recipe.target == "memplan.conv_weight_gradient_int8x"
            scale, zero_point = recipe.arguments[-2:] if quantized else (None, None)
            if recipe.axes == ("input",):
                ways.append(_WeightWay("slice", x, scale, zero_point, ("input",)))
            elif recipe.axes is None or "whole" in recipe.axes:
                cut = self.draft.tensors[weight].slices
                ways.append(_WeightWay("weight", x, scale, zero_point, ("whole",) if cut else None))
        return tuple(ways), layer

    def _serve(self, phase: Phase, parameter: str | None) -> _Serving | None:
        """Return what serves a parameter in a phase, if its form is the usual one."""
        operation = self.serving.get((phase, parameter)) if parameter is not None else None
        if parameter is None or operation is None:
            return None
        states = operation.mutates[1:]
        mutated, gradient, *others = operation.arguments
        known = tuple(view.tensor for view in others[: len(states)] if isinstance(view, View))
        if (
            mutated.tensor != operation.mutates[0]
            or gradient != self.draft.gradients[parameter]
            or known != states
        ):
            return None
        return _Serving(operation.id, CoveredUpdate(operation.target, tuple(others[len(states) :])))
