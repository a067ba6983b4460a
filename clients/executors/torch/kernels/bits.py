"""One bit per element instead of the element: where a gradient passes.

Each sample (slice along the first dimension) starts a byte, least significant bit first.  Work goes
in chunks of ``CHUNK_ELEMENTS`` elements, so that what numpy allocates beside the arena stays below
three bytes per element of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = ["CHUNK_ELEMENTS", "apply_bits", "range_bits"]

CHUNK_ELEMENTS = 65_536


def range_bits(call: Call) -> Run:
    """``memplan.range_bits(y, low, high)``: 1 where ``low < y < high``."""
    y, low, high = call.arguments
    (bits,) = call.writes

    def run() -> None:
        for values, packed in _chunks(y, bits):
            inside = values > low if low is not None else values == values
            if high is not None:
                inside &= values < high
            packed.numpy()[...] = np.packbits(inside.numpy(), axis=1, bitorder="little")

    return run


def apply_bits(call: Call) -> Run:
    """``memplan.apply_bits(gy, bits)``: ``gy`` where the bit is 1, else 0."""
    gy, bits = call.arguments
    (out,) = call.writes

    zero = torch.zeros((), dtype=gy.dtype)

    def apply_to(target: torch.Tensor) -> None:
        for (values, packed), (part, _) in zip(
            _chunks(gy, bits), _chunks(target, bits), strict=True
        ):
            mask = np.unpackbits(packed.numpy(), axis=1, count=values.shape[1], bitorder="little")
            torch.where(torch.from_numpy(mask.view(bool)), values, zero, out=part)

    if out.is_contiguous():
        return partial(apply_to, out)

    def run() -> None:
        dense = torch.empty(out.shape, dtype=out.dtype)
        apply_to(dense)
        out.copy_(dense)

    return run


def _chunks(
    values: torch.Tensor, bits: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (elements, their bits) as matrices whose rows are samples or parts of one."""
    samples = values.shape[0] if values.dim() else 1
    if values.numel() == 0:
        return
    rows = values.reshape(samples, -1)
    packed = bits.view(samples, -1)
    length = rows.shape[1]
    if length <= CHUNK_ELEMENTS:
        step = max(1, CHUNK_ELEMENTS // length)
        for start in range(0, samples, step):
            yield rows[start : start + step], packed[start : start + step]
    else:
        for sample in range(samples):
            for start in range(0, length, CHUNK_ELEMENTS):
                stop = min(start + CHUNK_ELEMENTS, length)
                yield (
                    rows[sample : sample + 1, start:stop],
                    packed[sample : sample + 1, start // 8 : -(-stop // 8)],
                )
