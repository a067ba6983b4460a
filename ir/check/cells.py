"""Addresses compressed to cells: the bytes between two neighbouring ends of buffers.

No buffer starts or ends inside a cell, so what holds of one of its bytes holds of all, and a
replay over cells is a replay over bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memplan.ir.plan import Plan

__all__ = ["Cells", "Marks", "compress"]

#: Cells per block of ``Marks``; a range costs about this many steps at the speed of a copy.
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Cells:
    """For each buffer the range of cells that its bytes are; regions do not share cells."""

    count: int
    ranges: tuple[tuple[int, int], ...]


def compress(plan: Plan) -> Cells:
    """Return the cells of a plan's buffers."""
    ends = {(b.region, b.offset) for b in plan.buffers}
    ends |= {(b.region, b.offset + b.size_bytes) for b in plan.buffers}
    cell = {end: place for place, end in enumerate(sorted(ends))}
    return Cells(
        len(cell),
        tuple(
            (cell[b.region, b.offset], cell[b.region, b.offset + b.size_bytes])
            for b in plan.buffers
        ),
    )


class Marks:
    """A number on each cell that only ever grows; ranges are marked and asked as a whole.

    A range costs about the square root of the number of cells and not their number, so that no
    arrangement of buffers makes a check slow: whole blocks are kept as one number each.
    """

    __slots__ = ("_cells", "_highest", "_whole")

    def __init__(self, count: int) -> None:
        blocks = count // _BLOCK + 1
        self._cells = [0] * count
        #: Of each block what all of its cells have at least.
        self._whole = [0] * blocks
        #: Of each block what one of its cells has at most.
        self._highest = [0] * blocks

    def raise_to(self, mark: int, cells: tuple[int, int]) -> None:
        """Mark cells [first, last), none of which may have a higher mark."""
        first, last = cells
        if first >= last:
            return
        block, last_block = first // _BLOCK, (last - 1) // _BLOCK
        if block == last_block:
            self._raise_part(mark, block, first, last)
            return
        self._raise_part(mark, block, first, (block + 1) * _BLOCK)
        self._raise_part(mark, last_block, last_block * _BLOCK, last)
        between = [mark] * (last_block - block - 1)
        self._whole[block + 1 : last_block] = between
        self._highest[block + 1 : last_block] = between

    def highest(self, cells: tuple[int, int]) -> int:
        """Return the highest mark in cells [first, last), 0 where there are none."""
        first, last = cells
        if first >= last:
            return 0
        block, last_block = first // _BLOCK, (last - 1) // _BLOCK
        if block == last_block:
            return max(self._whole[block], *self._cells[first:last])
        return max(
            self._whole[block],
            *self._cells[first : (block + 1) * _BLOCK],
            *self._highest[block + 1 : last_block],
            self._whole[last_block],
            *self._cells[last_block * _BLOCK : last],
        )

    def _raise_part(self, mark: int, block: int, first: int, last: int) -> None:
        self._cells[first:last] = [mark] * (last - first)
        self._highest[block] = max(self._highest[block], mark)
