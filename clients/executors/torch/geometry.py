"""Where a tensor's elements lie inside its bytes, under a micro-batch and an update mask.

A mask that takes c of a layer's C channels shrinks every tensor that the layer's mask cuts: the
tensor stays dense, so each stride that steps over whole groups of channels shrinks with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from memplan.ir.errors import GraphError, PlanRejectedError
from memplan.ir.graph import AxisSize, Operand, Tensor
from memplan.ir.request import LayerUpdate

__all__ = ["DTYPES", "View", "active_slice", "operand_view", "tensor_view"]

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
    "bit": torch.uint8,  # eight elements to the byte
}


@dataclass(frozen=True, slots=True)
class View:
    """A strided view of a block of bytes; strides and offset in elements of ``dtype``."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def end_bytes(self) -> int:
        """First byte behind the last element, counted from the start of the block."""
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        return (self.offset + last + 1) * self.dtype.itemsize

    def of(self, block: torch.Tensor, start_byte: int = 0) -> torch.Tensor:
        """Return the view on a one-dimensional block of bytes.

        Raises:
            PlanRejectedError: it would begin at an address that its element type cannot have.
        """
        size = self.dtype.itemsize
        if (block.data_ptr() + start_byte) % size:
            raise PlanRejectedError(
                f"a buffer of {self.dtype} begins at an address that is no multiple of {size} "
                "bytes; plan with a larger alignment"
            )
        usable = block.numel() // size * size
        typed = block if size == 1 else block[:usable]
        return torch.as_strided(
            typed.view(self.dtype), self.shape, self.strides, start_byte // size + self.offset
        )


def active_slice(tensor: Tensor, update: LayerUpdate | None) -> AxisSize | None:
    """Return the rule by which ``update`` cuts ``tensor``, or None where it stays whole."""
    if update is None:
        return None
    return next((rule for rule in tensor.slices if rule.axis == update.weight), None)


def tensor_view(tensor: Tensor, samples: int, update: LayerUpdate | None) -> View:
    """Return the tensor's own geometry at a micro-batch of ``samples`` under a mask."""
    if tensor.dtype == "bit":
        return View(torch.uint8, (tensor.size_bytes.at(samples),), (1,))
    shape = [dimension.at(samples) for dimension in tensor.shape]
    strides = [stride.at(samples) for stride in tensor.strides]
    view = View(DTYPES[tensor.dtype], tuple(shape), tuple(strides))
    rule = active_slice(tensor, update)
    if rule is None or update is None or rule.dim is None:
        return view
    return _cut(tensor, view, strides[rule.dim], rule.channels, len(update.channels))


def operand_view(
    tensor: Tensor, operand: Operand, samples: int, update: LayerUpdate | None
) -> View:
    """Return the geometry with which an operand reads the bytes of its tensor."""
    if operand.shape is None or operand.strides is None or tensor.dtype == "bit":
        return tensor_view(tensor, samples, update)
    view = View(
        DTYPES[tensor.dtype],
        tuple(dimension.at(samples) for dimension in operand.shape),
        tuple(stride.at(samples) for stride in operand.strides),
        operand.offset.at(samples),
    )
    rule = active_slice(tensor, update)
    if rule is None or update is None or rule.dim is None:
        return view
    inner = tensor.strides[rule.dim].at(samples)
    return _cut(tensor, view, inner, rule.channels, len(update.channels))


def _cut(tensor: Tensor, view: View, inner: int, channels: int, kept: int) -> View:
    """Return the view of the dense slice that has ``kept`` of ``channels`` channels.

    ``inner`` is the stride of the channel dimension.
    """
    block = inner * channels
    shape, strides = list(view.shape), list(view.strides)
    fits = view.offset % block == 0
    for index, (size, stride) in enumerate(zip(view.shape, view.strides, strict=True)):
        if size == channels and stride == inner:
            shape[index] = kept
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
    return View(view.dtype, tuple(shape), tuple(strides), view.offset // channels * kept)
