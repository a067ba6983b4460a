"""What searches over sets in bits share, in machine code: a heap, sums, and a hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Integers

__all__ = ["ONE", "Masks", "Shorts", "pop", "push", "scrambled", "sum_over"]

Masks = NDArray[np.uint64]
Shorts = NDArray[np.int32]

ONE = np.uint64(1)


@compiled
def scrambled(bits: np.uint64, other: int) -> np.uint64:
    """Return a hash of a set and a number."""
    key = (bits + np.uint64(other)) * np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(29)
    key *= np.uint64(0xBF58476D1CE4E5B9)
    return key ^ (key >> np.uint64(32))


@compiled
def _before(a: int, b: int, worth: Integers, tie: Masks) -> bool:
    return bool(worth[a] < worth[b] or (worth[a] == worth[b] and tie[a] < tie[b]))


@compiled
def push(heap: Shorts, count: int, one: int, worth: Integers, tie: Masks) -> None:
    """Add one to a heap of ``count``."""
    i = count
    while i > 0 and _before(one, heap[(i - 1) // 2], worth, tie):
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = one


@compiled
def pop(heap: Shorts, count: int, worth: Integers, tie: Masks) -> int:
    """Return the first; ``count`` is what is left."""
    first, last = heap[0], heap[count]
    i = 0
    while 2 * i + 1 < count:
        child = 2 * i + 1
        if child + 1 < count and _before(heap[child + 1], heap[child], worth, tie):
            child += 1
        if not _before(heap[child], last, worth, tie):
            break
        heap[i] = heap[child]
        i = child
    heap[i] = last
    return int(first)


@compiled
def sum_over(bits: np.uint64, of: Integers) -> int:
    """Return the sum over the items of a set."""
    total = 0
    k = 0
    while bits:
        if bits & ONE:
            total += of[k]
        bits >>= ONE
        k += 1
    return int(total)
