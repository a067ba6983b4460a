"""Arguments and workspace of ``memplan.channel_strips`` (``memplan.ir.targets`` has the rule).

Tracing writes them, executors read them, and a graph is refused where they do not fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memplan.ir.dtypes import BITS
from memplan.ir.graph import Alternative, OperandArgument, Operation
from memplan.ir.units import Affine

if TYPE_CHECKING:
    from memplan.ir.graph import OpGraph

__all__ = [
    "CHANNEL_STRIPS",
    "ChannelStrips",
    "CoveredUpdate",
    "Window",
    "Workspace",
    "strips_fault",
]

CHANNEL_STRIPS = "memplan.channel_strips"
_ARGUMENTS = 18
_MOST_PIXELS = 2**20
_REALS = ("float32", "float64")

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """How the depthwise convolution moves over its input: (rows, columns)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    def output(self, size: Pair) -> Pair:
        """Return the size of the result on an input of ``size``."""
        rows, columns = (
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return rows, columns


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where planes and the row of a weight's gradient lie; in elements of the gradient's type.

    The plane of the depthwise convolution's input begins at 0.
    """

    #: Of the plane of the depthwise convolution's output; 0: it is the same plane.
    plane: int
    #: Of the ring of rows that stands in for it then.
    ring: int
    #: Rows of the ring; 0: there is none.
    ring_rows: int
    #: Of one row of the expanding weight's gradient.
    row: int
    elements: int

    @classmethod
    def of(cls, window: Window, size: Pair, inputs: int) -> Workspace:
        """Lay out a workspace.

        Args:
            size: of the depthwise convolution's input.
            inputs: elements of a row of the weight's gradient; 0 where it is not wanted.
        """
        height, width = size
        input_plane = height * width
        output = window.output(size)
        rows = window.padding[0] + 1
        if window.stride == (1, 1) and output == size and rows < height:
            end = input_plane + rows * width
            return cls(0, input_plane, rows, end, end + inputs)
        end = input_plane + output[0] * output[1]
        return cls(input_plane, 0, 0, end, end + inputs)


@dataclass(frozen=True, slots=True)
class CoveredUpdate:
    """An update by channels: its target, and its arguments behind gradient and states."""

    target: str
    rest: tuple[Any, ...] = ()

    @classmethod
    def of(cls, argument: Any) -> CoveredUpdate | None:
        if argument is None:
            return None
        if not isinstance(argument, tuple | list) or not argument:
            raise ValueError("an update is null or (target, ...)")
        target, *rest = argument
        if not isinstance(target, str) or not target.startswith("memplan."):
            raise ValueError("an update begins with its target")
        return cls(target, tuple(rest))

    def as_argument(self) -> tuple[Any, ...]:
        return (self.target, *self.rest)


@dataclass(frozen=True, slots=True)
class ChannelStrips:
    """The arguments by name; operands as they stand there, a graph's or an executor's."""

    gy: Any
    project: Any
    project_scales: Any
    depthwise_bits: Any
    depthwise: Any
    depthwise_scales: Any
    expand_bits: Any
    expand: Any
    expand_scales: Any
    x: Any
    x_scale: float | None
    x_zero_point: int | None
    stride: Pair
    padding: Pair
    dilation: Pair
    depthwise_bias: CoveredUpdate | None = None
    expand_bias: CoveredUpdate | None = None
    expand_weight: CoveredUpdate | None = None

    @classmethod
    def of(cls, arguments: Sequence[Any]) -> ChannelStrips:
        """Read the arguments.

        Raises:
            ValueError: they are none of this target; says what is wrong.
        """
        if len(arguments) != _ARGUMENTS:
            raise ValueError(f"{_ARGUMENTS} arguments are needed, not {len(arguments)}")
        (
            gy, project, project_scales, depthwise_bits, depthwise, depthwise_scales, expand_bits,
            expand, expand_scales, x, x_scale, x_zero_point, stride, padding, dilation,
            depthwise_bias, expand_bias, expand_weight,
        ) = arguments  # fmt: skip
        if (x is None) != (expand_weight is None):
            raise ValueError("x goes with the update of the expanding weight")
        if (x_scale is None) != (x_zero_point is None):
            raise ValueError("scale and zero point of x go together")
        if x_scale is not None and not (
            isinstance(x_scale, float) and isinstance(x_zero_point, int)
        ):
            raise ValueError("scale and zero point of x must be numbers")
        return cls(
            gy, project, project_scales, depthwise_bits, depthwise, depthwise_scales, expand_bits,
            expand, expand_scales, x, x_scale, x_zero_point,
            _pair("stride", stride, 1), _pair("padding", padding, 0),
            _pair("dilation", dilation, 1),
            CoveredUpdate.of(depthwise_bias), CoveredUpdate.of(expand_bias),
            CoveredUpdate.of(expand_weight),
        )  # fmt: skip

    def as_arguments(self) -> tuple[Any, ...]:
        """Return the arguments as they stand in an alternative."""
        return (
            self.gy, self.project, self.project_scales, self.depthwise_bits,
            self.depthwise, self.depthwise_scales, self.expand_bits,
            self.expand, self.expand_scales, self.x, self.x_scale, self.x_zero_point,
            self.stride, self.padding, self.dilation,
            *(
                None if update is None else update.as_argument()
                for update in (self.depthwise_bias, self.expand_bias, self.expand_weight)
            ),
        )  # fmt: skip

    @property
    def updates(self) -> tuple[CoveredUpdate, ...]:
        """The updates that are there, in the order of ``covers``."""
        found = (self.depthwise_bias, self.expand_bias, self.expand_weight)
        return tuple(update for update in found if update is not None)

    def window(self, kernel: Pair) -> Window:
        """Return how the depthwise convolution moves."""
        return Window(kernel, self.stride, self.padding, self.dilation)


def _pair(name: str, argument: Any, least: int) -> Pair:
    if (
        not isinstance(argument, tuple | list)
        or len(argument) != 2
        or not all(isinstance(n, int) and least <= n < _MOST_PIXELS for n in argument)
    ):
        raise ValueError(f"{name} must be two numbers, none below {least}")
    return argument[0], argument[1]


def strips_fault(graph: OpGraph, operation: Operation, alternative: Alternative) -> str | None:
    """Return what is wrong with channel strips in an alternative, or None."""
    try:
        strips = ChannelStrips.of(alternative.arguments)
    except ValueError as error:
        return str(error)
    return next(_faults(graph, operation, alternative, strips), None)


def _faults(
    graph: OpGraph, operation: Operation, alternative: Alternative, strips: ChannelStrips
) -> Iterator[str]:
    def geometry(argument: Any, dtypes: Sequence[str]) -> tuple[Affine, ...] | None:
        """Return the shape of an operand of one of these types and four dimensions."""
        if not isinstance(argument, OperandArgument) or argument.operand >= len(alternative.reads):
            return None
        operand = alternative.reads[argument.operand]
        tensor = graph.tensor.get(operand.tensor)
        if tensor is None or tensor.dtype not in dtypes:
            return None
        shape = tensor.shape if operand.shape is None else operand.shape
        return shape if len(shape) == 4 else None

    if alternative.keywords:
        yield "channel strips have no keywords"
    result = graph.tensor.get(operation.writes[0]) if len(operation.writes) == 1 else None
    if result is None or operation.mutates or result.dtype not in _REALS or len(result.shape) != 4:
        yield "channel strips write one real tensor of four dimensions and mutate none by itself"
        return
    samples, inputs, height, width = result.shape
    gy = geometry(strips.gy, (result.dtype,))
    weights = [
        geometry(weight, ("int8",) if scales is not None else (result.dtype,))
        for weight, scales in (
            (strips.project, strips.project_scales),
            (strips.depthwise, strips.depthwise_scales),
            (strips.expand, strips.expand_scales),
        )
    ]
    if gy is None or any(weight is None for weight in weights):
        yield "gradient and weights must be operands of four dimensions and of one real type"
        return
    project, depthwise, expand = (weight for weight in weights if weight is not None)
    fixed = (*gy[1:], *project, *depthwise, *expand, inputs, height, width)
    if any(size.per_sample or size.fixed < 1 for size in fixed):
        yield "only the number of samples may depend on the batch"
        return
    channels, one = depthwise[0], Affine(1)
    window = strips.window((depthwise[2].fixed, depthwise[3].fixed))
    size = height.fixed, width.fixed
    if (
        gy[0] != samples
        or project != (gy[1], channels, one, one)
        or depthwise[1] != one
        or expand != (channels, inputs, one, one)
        or window.output(size) != (gy[2].fixed, gy[3].fixed)
    ):
        yield "gradient, weights and result do not fit together"
        return
    for bits, plane in ((strips.depthwise_bits, gy[2:]), (strips.expand_bits, (height, width))):
        if bits is not None and geometry(bits, ("bit",)) != (samples, channels, *plane):
            yield "a mask is not of the shape that it masks"
    if strips.expand_weight is not None:
        dtype = "int8" if strips.x_scale is not None else result.dtype
        if geometry(strips.x, (dtype,)) != (samples, inputs, height, width):
            yield "x is not of the result's shape"
        if "output" in (alternative.axes or ()):
            yield "a weight that is cut along its outputs is not updated in strips"
    yield from _cover_faults(graph, alternative, strips, channels, inputs)
    row = inputs.fixed if strips.expand_weight is not None else 0
    needed = Workspace.of(window, size, row).elements * BITS[result.dtype] // 8
    workspace = alternative.workspace_bytes
    if needed > min(workspace.fixed, workspace.fixed + workspace.per_sample):
        yield f"its planes need {needed} bytes of workspace, it has {workspace.fixed}"


def _cover_faults(
    graph: OpGraph,
    alternative: Alternative,
    strips: ChannelStrips,
    channels: Affine,
    inputs: Affine,
) -> Iterator[str]:
    if len(alternative.covers) != len(strips.updates):
        yield f"it covers {len(alternative.covers)} updates and has {len(strips.updates)}"
        return
    weight = strips.expand_weight
    for name, update in zip(alternative.covers, strips.updates, strict=True):
        covered = graph.operation.get(name)
        if covered is None:
            continue  # said elsewhere
        if covered.alternatives[0].target != update.target:
            yield f"it does {update.target} in place of {name}"
        parameter = graph.tensor.get(covered.parameter or "")
        shape = (channels, inputs, Affine(1), Affine(1)) if update is weight else (channels,)
        if parameter is None or parameter.shape != shape:
            yield f"{name} serves no parameter of these channels"
