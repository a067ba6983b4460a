"""Where the rows of a strip program lie: in rings of the workspace, and in whole tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memplan.clients.export.c.call import Call, UnsupportedError
from memplan.clients.export.c.views import C_TYPES, ITEM_BYTES, Geometry, View
from memplan.ir.graph import LocalArgument
from memplan.ir.row_strips import StripEntry

__all__ = ["ROW", "SAMPLE", "Places", "Rows", "as_bytes"]

#: Names of the parameters of a function that computes a row.
SAMPLE, ROW = "sample", "row"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an operand, or of a result; of one sample, which ``SAMPLE`` names."""

    #: Row 0 of sample 0: (1, channels, 1, columns).
    first: View
    height: int
    #: Elements from a sample, and from a row, to the next; 0: all are the same.
    sample_step: int
    row_step: int
    #: Rows of the ring; 0: there is none, every row has a place of its own.
    ring: int = 0

    def at(self, row: str = ROW) -> View:
        """Return one row as an image of height 1; ``row`` is the name of a C variable."""
        terms = [self.first.base]
        if self.first.geometry.offset:
            terms.append(str(self.first.geometry.offset))
        if self.sample_step:
            terms.append(f"{SAMPLE} * {self.sample_step}")
        if self.row_step and self.ring != 1:
            slot = f"{row} % {self.ring}" if self.ring else row
            terms.append(f"{slot} * {self.row_step}")
        shape, strides = self.first.shape, self.first.strides
        geometry = Geometry(shape, strides)
        return View(" + ".join(terms), self.first.dtype, geometry, self.first.split)

    @property
    def channel_step(self) -> int:
        """Elements from a channel to the next."""
        return self.first.strides[1]


@dataclass(frozen=True, slots=True)
class Places:
    """The rows of everything in one program."""

    call: Call
    entries: Sequence[StripEntry]

    def of_entry(self, index: int) -> Rows:
        """Return the rows of an entry's result."""
        entry = self.entries[index]
        channels, height, width = entry.shape
        if entry.place is None:
            (out,) = self.call.writes
            if out.shape[1:] != entry.shape or out.dtype != entry.dtype:
                raise UnsupportedError("an entry without a place that is not like the output")
            return self.of_operand(out)
        size = channels * width
        end = entry.place.offset_bytes + entry.place.rows * size * ITEM_BYTES[entry.dtype]
        workspace = self.call.workspace
        if workspace is None or end > workspace.count:
            raise UnsupportedError(f"line buffers of {end} bytes in a smaller workspace")
        base = _part(workspace, entry.place.offset_bytes, entry.dtype)
        geometry = Geometry((1, channels, 1, width), (size, width, width, 1))
        first = View(base, entry.dtype, geometry)
        return Rows(first, height, 0, size, entry.place.rows)

    def of_operand(self, view: View) -> Rows:
        """Return the rows of a whole tensor; what it has only one of is the same for all."""
        missing = 4 - len(view.shape)
        if missing < 0 or len(view.shape) < 2:
            raise UnsupportedError(f"rows of an operand of shape {view.shape}")
        shape = (*(1,) * missing, *view.shape)
        strides = (*(0,) * missing, *view.strides)
        samples, channels, height, width = shape
        first = View(
            view.base,
            view.dtype,
            Geometry((1, channels, 1, width), (0, strides[1], 0, strides[3]), view.geometry.offset),
            view.split,
        )
        sample_step = strides[0] if samples > 1 else 0
        return Rows(first, height, sample_step, strides[2] if height > 1 else 0)

    def of(self, argument: LocalArgument | View) -> Rows:
        """Return the rows of an operand, whole or an earlier entry's result."""
        if isinstance(argument, LocalArgument):
            return self.of_entry(argument.local)
        return self.of_operand(argument)

    def one_row(self, argument: Any) -> Any:
        """Return an argument tree with row ``ROW`` of each operand in place of the operand."""
        if isinstance(argument, LocalArgument):
            return self.of_entry(argument.local).at()
        if isinstance(argument, View):
            return self.of_operand(argument).at() if len(argument.shape) > 1 else argument
        if isinstance(argument, list | tuple):
            return tuple(self.one_row(part) for part in argument)
        return argument


def as_bytes(pointer: str) -> str:
    """Return a C expression of the bytes behind a pointer."""
    return f"(uint8_t *)({pointer})"


def _part(workspace: View, offset_bytes: int, dtype: str) -> str:
    """Return elements that begin at a byte of the workspace, ``AT(uint8_t, place)``."""
    place = workspace.base.removeprefix("AT(uint8_t, ").removesuffix(")")
    return f"AT({C_TYPES[dtype]}, {place}{f' + {offset_bytes}' if offset_bytes else ''})"
