"""What searches over sets in bits share, in machine code: a heap, sums, and a hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memplan.solver.local_search.compiled import compiled
from memplan.solver.packing.flat import Integers

__all__ = [
    "ONE",
    "Masks",
    "Shorts",
    "pop",
    "push",
    "scrambled",
    "sum_over",
    "sum_table",
    "sum_up",
    "unite",
    "union_table",
]

Masks = NDArray[np.uint64]
Shorts = NDArray[np.int32]

ONE = np.uint64(1)
#: Tables have a row for each byte of a word.
_BYTES, _VALUES = 8, 256
_BYTE, _SHIFT = np.uint64(_VALUES - 1), np.uint64(8)


def sum_table(values: Integers) -> Integers:
    """Return sums over the members of all sets, byte by byte of a word, for ``sum_up``."""
    table = np.zeros((_BYTES, _VALUES), np.int64)
    for number, value in enumerate(values):
        row, bit = table[number // 8], 1 << number % 8
        row[bit : 2 * bit] = row[:bit] + value
    return table


def union_table(sets: Masks) -> Masks:
    """Return unions of what belongs to the members of all sets, for ``unite``."""
    table = np.zeros((_BYTES, _VALUES), np.uint64)
    for number, each in enumerate(sets):
        row, bit = table[number // 8], 1 << number % 8
        row[bit : 2 * bit] = row[:bit] | each
    return table


@compiled
def sum_up(bits: np.uint64, table: Integers) -> int:
    """Return the sum over the members of a set, by a table."""
    total = 0
    k = 0
    while bits:
        total += table[k, bits & _BYTE]
        bits >>= _SHIFT
        k += 1
    return int(total)


@compiled
def unite(bits: np.uint64, table: Masks) -> np.uint64:
    """Return the union of what belongs to the members of a set, by a table."""
    union = np.uint64(0)
    k = 0
    while bits:
        union |= table[k, bits & _BYTE]
        bits >>= _SHIFT
        k += 1
    return union


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
