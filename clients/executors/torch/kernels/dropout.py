"""Dropout whose mask is a function of (seed, salt, element), never of order or micro-batch.

Element e of the whole batch (row-major index) is dropped if its hash is below
``probability * 2**32``.  The hash, in 32-bit arithmetic that microcontrollers have too::

    mix(h)   = h ^= h >> 16; h *= 0x85EBCA6B; h ^= h >> 13; h *= 0xC2B2AE35; h ^= h >> 16
    key      = mix(mix(seed + 0x9E3779B9) ^ salt)             (salt folded: low ^ high half)
    hash(e)  = mix(mix(low(e) ^ key) + mix(high(e) + key))

``mix`` is the finalizer of MurmurHash3 (Appleby), ``low`` and ``high`` the halves of 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from memplan.clients.executors.torch.kernels.call import Call, Run

__all__ = ["CHUNK_ELEMENTS", "dropout", "keep_mask"]

CHUNK_ELEMENTS = 16_384
_LOW = 0xFFFF_FFFF


def keep_mask(seed: int, salt: int, probability: float, start: int, count: int) -> torch.Tensor:
    """Return for elements ``start`` to ``start + count`` of the batch whether they stay."""
    kept = torch.empty(count, dtype=torch.bool)
    array = kept.numpy()
    for first, part in _parts(start, count):
        array[first - start : first - start + part] = _keep(seed, salt, probability, first, part)
    return kept


def dropout(call: Call) -> Run:
    """``memplan.dropout(x, probability, salt)`` and, on gradients, ``memplan.dropout_backward``."""
    x, probability, salt = call.arguments
    (out,) = call.writes
    state = call.state
    scale = 0.0 if probability >= 1 else 1.0 / (1.0 - probability)
    rows = _rows(call)

    def run() -> None:
        if out.data_ptr() != x.data_ptr() or out.stride() != x.stride():
            out.copy_(x)
        out.mul_(scale)
        for target, batch_stride, length in rows:
            first = state.trip * length + batch_stride
            for start, count in _parts(first, length):
                kept = torch.from_numpy(_keep(state.seed, salt, probability, start, count))
                place = start - first
                part = target[place : place + count]
                torch.mul(part, kept, out=part)

    if out.is_contiguous():
        return run

    def run_strided() -> None:
        # The same on a dense copy: indices count in row-major order.
        dense = x.contiguous().mul(scale)
        for (_, batch_stride, length), target in zip(rows, dense.view(len(rows), -1), strict=True):
            kept = keep_mask(
                state.seed, salt, probability, state.trip * length + batch_stride, length
            )
            target.mul_(kept)
        out.copy_(dense)

    return run_strided


def _rows(call: Call) -> list[tuple[torch.Tensor, int, int]]:
    """Return (elements, index of the row in the whole batch, length) of each dense row.

    A row is what stands together in the whole batch too: everything where the batch is the
    first dimension, else one row for each index of the dimensions before it.
    """
    (out,) = call.writes
    (shape,) = call.write_shapes
    batch_dim = next((d for d, size in enumerate(shape) if size.per_sample), None)
    count = 1 if batch_dim is None else math.prod(out.shape[:batch_dim])
    length = out.numel() // max(count, 1)
    flat = out.view(count, -1) if out.is_contiguous() else [out] * count
    return [(flat[row], row * length * call.trips, length) for row in range(count)]


def _parts(start: int, count: int) -> Iterator[tuple[int, int]]:
    for first in range(start, start + count, CHUNK_ELEMENTS):
        yield first, min(CHUNK_ELEMENTS, start + count - first)


def _keep(seed: int, salt: int, probability: float, start: int, count: int) -> np.ndarray:
    if probability <= 0:
        return np.ones(count, dtype=bool)
    threshold = round(probability * 2**32)
    if threshold > _LOW:
        return np.zeros(count, dtype=bool)
    key = _mix_one(_mix_one((seed + 0x9E37_79B9) & _LOW) ^ ((salt ^ (salt >> 32)) & _LOW))
    index = np.arange(start, start + count, dtype=np.uint64)
    high = (index >> np.uint64(32)).astype(np.uint32)
    hashed = index.astype(np.uint32)
    hashed ^= np.uint32(key)
    _mix(hashed)
    high += np.uint32(key)
    _mix(high)
    hashed += high
    _mix(hashed)
    return hashed >= np.uint32(threshold)


def _mix(h: np.ndarray) -> None:
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EB_CA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2_AE35)
    h ^= h >> np.uint32(16)


def _mix_one(h: int) -> int:
    h ^= h >> 16
    h = h * 0x85EB_CA6B & _LOW
    h ^= h >> 13
    h = h * 0xC2B2_AE35 & _LOW
    return h ^ (h >> 16)
