"""The graph while passes still change it: the same facts as an OpGraph, mutable and unchecked.

Operands stand as ``View`` leaves inside argument trees, so that a pass can match a pattern by
looking at an operation's arguments.  Every size is affine in the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from memplan.ir.dtypes import Dtype, storage_bytes
from memplan.ir.graph import (
    AxisSize,
    Layer,
    Phase,
    Quantization,
    Role,
    TensorQuantization,
    UpdatedAxis,
    WeightSource,
)
from memplan.ir.units import Affine

__all__ = [
    "Draft",
    "DraftOperation",
    "DraftTensor",
    "NotAffineError",
    "Recipe",
    "Shape",
    "View",
    "contiguous_strides",
    "elements",
    "replace_views",
    "sizes_at",
    "views_in",
]

Shape = tuple[Affine, ...]
ZERO = Affine(0)


class NotAffineError(Exception):
    """A size is no affine function of the micro-batch, so the graph holds for one batch only."""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor's bytes as an operation reads them; strides and offset in elements."""

    tensor: str
    shape: Shape
    strides: Shape
    offset: Affine = ZERO


@dataclass(slots=True)
class DraftTensor:
    """One block of bytes."""

    id: str
    role: Role
    dtype: Dtype
    shape: Shape
    strides: Shape
    size_bytes: Affine
    layer: str | None = None
    slices: tuple[AxisSize, ...] = ()
    source: WeightSource | None = None
    quantization: TensorQuantization | None = None

    def whole(self) -> View:
        """Return the tensor as it is laid out."""
        return View(self.id, self.shape, self.strides)

    def is_whole(self, view: View) -> bool:
        """Tell whether ``view`` reads exactly this tensor's own geometry."""
        return view.offset == ZERO and view.shape == self.shape and view.strides == self.strides


@dataclass(slots=True)
class Recipe:
    """One alternative of an operation; costs are filled in when the graph is complete."""

    name: str
    target: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    in_place: tuple[tuple[View, int], ...] = ()
    workspace_bytes: Affine = ZERO
    slices: tuple[AxisSize, ...] = ()
    axes: tuple[UpdatedAxis, ...] | None = None
    #: Updates and accumulations that are performed as well, by id.
    covers: tuple[str, ...] = ()
    #: The operand whose bytes are scratch of the step; the result is then written last.
    uses_up: View | None = None

    def reads(self) -> list[View]:
        """Return the distinct operands in the order of the arguments."""
        return list(dict.fromkeys(views_in((self.arguments, tuple(self.keywords.values())))))


@dataclass(slots=True)
class DraftOperation:
    """An operation with its ways of execution; the first is the plain one."""

    id: str
    phase: Phase
    #: None only until passes have seen to results that an operation leaves out.
    writes: tuple[Any, ...]
    alternatives: list[Recipe]
    layer: str | None = None
    parameter: str | None = None
    mutates: tuple[str, ...] = ()
    recomputable: bool = False
    #: Name of the node of the forward graph that this operation comes from.
    origin: str | None = None

    @property
    def plain(self) -> Recipe:
        return self.alternatives[0]

    @property
    def target(self) -> str:
        return self.alternatives[0].target

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.alternatives[0].arguments

    def reads(self) -> list[View]:
        """Return the operands of every alternative."""
        return list(dict.fromkeys(view for way in self.alternatives for view in way.reads()))


@dataclass(slots=True)
class Draft:
    """A graph under construction."""

    name: str
    #: Batches at which sizes were seen; one means that the batch is not symbolic.
    samples: tuple[int, ...]
    tensors: dict[str, DraftTensor] = field(default_factory=dict)
    operations: list[DraftOperation] = field(default_factory=list)
    #: Gradient of each trainable parameter.
    gradients: dict[str, View] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    coupled_by: str = ""
    quantization: Quantization | None = None
    #: Ways that take the rows of the input from the host, one after the other, are wanted.
    stream_input_rows: bool = False

    @property
    def symbolic(self) -> bool:
        return len(self.samples) > 1

    def producers(self) -> dict[str, DraftOperation]:
        """Return the operation that writes each tensor."""
        return {name: operation for operation in self.operations for name in operation.writes}

    def readers(self) -> dict[str, list[DraftOperation]]:
        """Return the operations that read each tensor, in order."""
        found: dict[str, list[DraftOperation]] = {}
        for operation in self.operations:
            for name in dict.fromkeys(view.tensor for view in operation.reads()):
                found.setdefault(name, []).append(operation)
        return found

    def affine(self, value: Callable[[int], int]) -> Affine:
        """Return the line through ``value`` at the samples seen.

        Raises:
            NotAffineError: the values do not lie on a line of whole numbers.
        """
        return affine_through(self.samples, [value(count) for count in self.samples])

    def new_tensor(
        self,
        name: str,
        role: Role,
        dtype: Dtype,
        shape: Shape,
        strides: Shape | None = None,
        **facts: Any,
    ) -> DraftTensor:
        """Add a tensor under a name not yet taken; contiguous unless strides are given."""
        unique = name
        count = 1
        while unique in self.tensors:
            count += 1
            unique = f"{name}.{count}"
        if strides is None:
            strides = contiguous_strides(self, shape)
        tensor = DraftTensor(
            unique, role, dtype, shape, strides, self.extent_bytes(shape, strides, dtype), **facts
        )
        self.tensors[unique] = tensor
        return tensor

    def extent_bytes(self, shape: Shape, strides: Shape, dtype: Dtype) -> Affine:
        """Return the bytes from the first to the last element."""

        def at(count: int) -> int:
            last = 0
            for dimension, stride in zip(shape, strides, strict=True):
                if dimension.at(count) == 0:
                    return 0
                last += (dimension.at(count) - 1) * stride.at(count)
            return storage_bytes(last + 1, dtype)

        return self.affine(at)


def affine_through(samples: tuple[int, ...], values: list[int]) -> Affine:
    """Return the line through whole numbers at ``samples``.

    Raises:
        NotAffineError: there is none.
    """
    if len(samples) == 1 or all(value == values[0] for value in values):
        return Affine(values[0])
    line = Affine.through((samples[0], values[0]), (samples[1], values[1]))
    if line is None or any(
        line.at(count) != value for count, value in zip(samples, values, strict=True)
    ):
        raise NotAffineError(f"{values} at batches {samples}")
    return line


def contiguous_strides(draft: Draft, shape: Shape) -> Shape:
    """Return row-major strides of a shape."""
    strides = [Affine(1)]
    for position in range(len(shape) - 1, 0, -1):
        inner = shape[position:]
        strides.append(draft.affine(partial(elements, inner)))
    return tuple(reversed(strides)) if shape else ()


def elements(shape: Shape, count: int) -> int:
    """Return the number of elements of a shape at ``count`` samples."""
    total = 1
    for dimension in shape:
        total *= dimension.at(count)
    return total


def sizes_at(shape: Shape, count: int) -> tuple[int, ...]:
    """Return a shape at ``count`` samples."""
    return tuple(dimension.at(count) for dimension in shape)


def views_in(argument: Any) -> Iterator[View]:
    """Yield the operands of an argument tree in order."""
    if isinstance(argument, View):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from views_in(part)


def replace_views(operation: DraftOperation, change: Callable[[View], Any]) -> None:
    """Replace every operand of every alternative by what ``change`` makes of it."""

    def walk(argument: Any) -> Any:
        if isinstance(argument, View):
            return change(argument)
        if isinstance(argument, tuple):
            return tuple(walk(part) for part in argument)
        return argument

    operation.alternatives = [
        replace(
            way,
            arguments=walk(way.arguments),
            keywords={name: walk(value) for name, value in way.keywords.items()},
        )
        for way in operation.alternatives
    ]
