"""Shapes of a model's inputs as users write them: ``2x3x32x32:float32``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch

from memplan.ir.errors import RequestError
from memplan.ir.limits import MAX_BATCH, MAX_BYTES, MAX_RANK
from memplan.tracing.loaded import InputSpec

__all__ = ["DTYPES", "parse_input", "parse_inputs", "sample_inputs"]

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float32", "float64", "float16", "bfloat16",
        "int64", "int32", "int16", "int8", "uint8", "bool",
    )
}  # fmt: skip

_SPEC = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w{0,80})=)?(?P<shape>\d{1,15}(?:x\d{1,15})*)(?::(?P<dtype>\w{1,20}))?",
    re.ASCII,
)


def parse_input(text: str, position: int = 0) -> InputSpec:
    """Read ``[name=]SHAPE[:DTYPE]``, for example ``2x3x32x32:float32`` or ``input_ids=2x16:int64``.

    The first number is the batch.  Without a dtype it is float32; without a name, ``input_N``.

    Raises:
        RequestError: the text is malformed, or the input absurdly large.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise RequestError(
            f"--input {text[:80]!r}: expected SHAPE:DTYPE such as 2x3x32x32:float32, batch first"
        )
    dtype_name = match["dtype"] or "float32"
    if dtype_name not in DTYPES:
        raise RequestError(
            f"--input {text[:80]!r}: unknown dtype {dtype_name!r}; one of {', '.join(DTYPES)}"
        )
    dtype = DTYPES[dtype_name]
    shape = tuple(int(size) for size in match["shape"].split("x"))
    if len(shape) > MAX_RANK:
        raise RequestError(f"--input {text[:80]!r}: {len(shape)} dimensions, at most {MAX_RANK}")
    if 0 in shape:
        raise RequestError(f"--input {text[:80]!r}: every size must be at least 1")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES or max(shape) > 2**31 - 1:
        raise RequestError(f"--input {text[:80]!r}: the shape is absurd")
    if shape[0] > MAX_BATCH:
        raise RequestError(f"--input {text[:80]!r}: a batch above {MAX_BATCH}")
    return InputSpec(match["name"] or f"input_{position}", shape, dtype)


def parse_inputs(texts: Sequence[str]) -> tuple[InputSpec, ...]:
    """Read several inputs; their names must differ.

    Raises:
        RequestError: one is malformed, or a name occurs twice.
    """
    specs = tuple(parse_input(text, position) for position, text in enumerate(texts))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"--input: two inputs are called {name!r}")
    return specs


def sample_inputs(
    specs: Sequence[InputSpec], *, seed: int = 0, integers_below: int = 2
) -> tuple[torch.Tensor, ...]:
    """Return random values of the given shapes: normal floats, small non-negative integers."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for spec in specs:
        if spec.dtype.is_floating_point:
            samples.append(torch.randn(spec.shape, generator=generator).to(spec.dtype))
        elif spec.dtype is torch.bool:
            samples.append(torch.ones(spec.shape, dtype=torch.bool))
        else:
            values = torch.randint(0, integers_below, spec.shape, generator=generator)
            samples.append(values.to(spec.dtype))
    return tuple(samples)
