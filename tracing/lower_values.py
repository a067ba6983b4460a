"""Values of fx nodes, seen at several batches at once, as values of the draft."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from memplan.ir.errors import ModelError
from memplan.ir.graph import DtypeArgument, FloatArgument, SizeArgument
from memplan.ir.units import Affine
from memplan.tracing.draft import NotAffineError, Shape, affine_through

__all__ = ["DROPPED", "Lines", "dtype_name"]

#: Keywords that say where and how a result is stored; the graph's strides say it already.
DROPPED = frozenset(
    {"device", "layout", "pin_memory", "memory_format", "non_blocking", "generator"}
)

_DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int16: "int16",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}

_constant = lru_cache(maxsize=4096)(Affine)


def dtype_name(dtype: torch.dtype) -> Any:
    """Return the contract's name of an element type.

    Raises:
        ModelError: the contract has none (complex, quantized).
    """
    if dtype not in _DTYPES:
        raise ModelError(f"element type {dtype} is not supported; use real floats and integers")
    return _DTYPES[dtype]


class Lines:
    """Lines through numbers seen at ``samples``."""

    def __init__(self, samples: tuple[int, ...]) -> None:
        self.samples = samples

    def line(self, values: Sequence[int]) -> Affine:
        first = values[0]
        if all(value == first for value in values):
            return _constant(first)
        return affine_through(self.samples, list(values))

    def shape(self, shapes: Sequence[Sequence[int]]) -> Shape:
        """Return one affine number per dimension.

        Raises:
            NotAffineError: the ranks differ, or a dimension follows no line.
        """
        if len({len(shape) for shape in shapes}) > 1:
            raise NotAffineError(f"ranks differ: {shapes}")
        return tuple(self.line(values) for values in zip(*shapes, strict=True))

    def scalar(self, values: Sequence[Any]) -> Any:
        """Return the argument for a number, name or type seen at every batch.

        Raises:
            NotAffineError: it changes with the batch, and on no line.
        """
        first = values[0]
        if isinstance(first, (torch.device, torch.layout, torch.memory_format)):
            return None
        if isinstance(first, torch.dtype):
            return DtypeArgument(dtype=dtype_name(first))
        if type(first) is int and all(type(value) is int for value in values):
            size = self.line(values)
            return first if size.per_sample == 0 else SizeArgument(size=size)
        if isinstance(first, float):
            if any(value != first and not (value != value and first != first) for value in values):
                raise NotAffineError(f"a factor changes with the batch: {list(values)}")
            if math.isfinite(first):
                return first
            return FloatArgument(value="nan" if first != first else "inf" if first > 0 else "-inf")
        if first is None or isinstance(first, (bool, str)):
            if any(value != first for value in values):
                raise NotAffineError(f"an argument changes with the batch: {list(values)}")
            return first
        raise ModelError(f"an argument of type {type(first).__name__} is not supported")
