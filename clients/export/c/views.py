"""Where an operand's elements lie, with the C expression that reaches them.

The arithmetic is that of the contract: a mask that takes c of a layer's C channels shrinks every
tensor that the mask cuts; the tensor stays dense, so strides over whole groups of channels shrink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from memplan.ir.errors import GraphError
from memplan.ir.graph import AxisSize, Operand, Tensor
from memplan.ir.request import LayerUpdate

__all__ = [
    "C_TYPES",
    "ITEM_BYTES",
    "Geometry",
    "Split",
    "View",
    "active_slice",
    "contiguous_strides",
    "operand_geometry",
    "tensor_geometry",
]

#: Element types that kernels exist for; ``bit`` stands for bytes of eight elements.
C_TYPES = {
    "float32": "float",
    "int64": "int64_t",
    "int32": "int32_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
    "bit": "uint8_t",
}
ITEM_BYTES = {
    "float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "bit": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Geometry:
    """Shape, strides and offset, in elements."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def end(self) -> int:
        """First element behind the last one."""
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return self.offset + last + 1


@dataclass(frozen=True, slots=True)
class Split:
    """The updated channels of a partly updated weight."""

    #: C expression of the slice in the arena.
    pointer: str
    #: How the slice is read: strides as the view's, but of the slice.
    geometry: Geometry
    #: The view's dimension that is cut.
    dim: int
    channels: tuple[int, ...]
    #: How many channels there are in all.
    total: int


@dataclass(frozen=True, slots=True)
class View:
    """A strided view of a block of memory."""

    #: C expression of the first byte of the block, typed.
    base: str
    dtype: str
    geometry: Geometry
    split: Split | None = None
    #: Part of the first dimension (fused updates): C expression of elements to skip.
    skip: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.geometry.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self.geometry.strides

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def pointer(self) -> str:
        """C expression of the first element."""
        offset = f" + {self.geometry.offset}" if self.geometry.offset else ""
        return self.base + offset + (f" + {self.skip}" if self.skip else "")

    @property
    def is_dense(self) -> bool:
        """Elements follow each other in row-major order."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a dense tensor in row-major order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def active_slice(tensor: Tensor, update: LayerUpdate | None) -> AxisSize | None:
    """Return the rule by which ``update`` cuts ``tensor``, or None where it stays whole."""
    if update is None:
        return None
    return next((rule for rule in tensor.slices if rule.axis == update.weight), None)


def tensor_geometry(tensor: Tensor, samples: int, update: LayerUpdate | None) -> Geometry:
    """Return the tensor's own geometry at a micro-batch of ``samples`` under a mask."""
    if tensor.dtype == "bit":
        return Geometry((tensor.size_bytes.at(samples),), (1,))
    geometry = Geometry(
        tuple(size.at(samples) for size in tensor.shape),
        tuple(stride.at(samples) for stride in tensor.strides),
    )
    return _cut(tensor, geometry, samples, update)[0]


def operand_geometry(
    tensor: Tensor, operand: Operand, samples: int, update: LayerUpdate | None
) -> tuple[Geometry, int]:
    """Return how an operand reads its tensor, and the dimension that the mask cuts (-1: none)."""
    if tensor.dtype == "bit":
        return tensor_geometry(tensor, samples, update), -1
    shape = tensor.shape if operand.shape is None else operand.shape
    strides = tensor.strides if operand.strides is None else operand.strides
    geometry = Geometry(
        tuple(size.at(samples) for size in shape),
        tuple(stride.at(samples) for stride in strides),
        operand.offset.at(samples),
    )
    return _cut(tensor, geometry, samples, update)


def _cut(
    tensor: Tensor, view: Geometry, samples: int, update: LayerUpdate | None
) -> tuple[Geometry, int]:
    rule = active_slice(tensor, update)
    if rule is None or update is None or rule.dim is None:
        return view, -1
    inner = tensor.strides[rule.dim].at(samples)
    channels, kept = rule.channels, len(update.channels)
    block = inner * channels
    shape, strides, found = list(view.shape), list(view.strides), -1
    fits = view.offset % block == 0
    for index, (size, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        if size == channels and stride == inner:
            shape[index], found = kept, index
        elif stride >= block:
            fits = fits and stride % block == 0
            strides[index] = stride // channels * kept
        elif size > 1:
            # It must stay inside one channel, else it mixes kept and dropped channels.
            fits = fits and (size - 1) * stride < inner
    if not fits:
        raise GraphError(
            f"tensor {tensor.id}: an operand reads it with shape {view.shape} and strides "
            f"{view.strides}, which has no meaning for a slice of its {channels} channels"
        )
    return Geometry(tuple(shape), tuple(strides), view.offset // channels * kept), found
