"""Programs of ``memplan.row_strips``: which rows an entry needs, and the order of all of them.

Tracing sizes line buffers by this order, executors follow it (``memplan.ir.targets`` has the rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memplan.ir.dtypes import BITS
from memplan.ir.graph import Alternative, DtypeArgument, LocalArgument
from memplan.ir.limits import MAX_BYTES

__all__ = [
    "MAX_ENTRIES",
    "ROW_STRIPS",
    "Place",
    "RowWindow",
    "StripEntry",
    "locals_in",
    "program_fault",
    "read_program",
    "row_order",
]

ROW_STRIPS = "memplan.row_strips"
#: Entries of a program; the order of rows is found by a recursion of this depth.
MAX_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class RowWindow:
    """The rows of an operand that one row of the result needs; some may lie in the padding."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def rows(self, row: int) -> range:
        """Return the rows below row ``row`` of the result, padding included."""
        first = row * self.stride - self.padding
        return range(first, first + (self.kernel - 1) * self.dilation + 1, self.dilation)


@dataclass(frozen=True, slots=True)
class Place:
    """A ring of rows in the workspace: row h lies in slot ``h % rows``."""

    offset_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class StripEntry:
    """One operation of a program."""

    target: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    #: Of every operand that has rows.
    window: RowWindow
    #: Of one sample of the result: channels, rows, columns.
    shape: tuple[int, int, int]
    #: A ``DtypeArgument``, or what an executor makes of it.
    dtype: Any
    #: Null: rows are computed where the output has them.
    place: Place | None

    @classmethod
    def of(cls, argument: Any) -> StripEntry:
        """Read an entry.

        Raises:
            ValueError: it is none; says what is wrong.
        """
        if not isinstance(argument, tuple | list) or len(argument) != 7:
            raise ValueError(
                "an entry is (target, arguments, keywords, window, shape, dtype, place)"
            )
        target, arguments, keywords, window, shape, dtype, place = argument
        if not isinstance(target, str) or not isinstance(arguments, tuple | list):
            raise ValueError("an entry begins with a target and its arguments")
        if not isinstance(keywords, tuple | list) or not all(
            isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in keywords
        ):
            raise ValueError("keywords are pairs of name and value")
        kernel, stride, padding, dilation = _numbers("window", window, 4)
        if min(kernel, stride, dilation) < 1:
            raise ValueError(f"window {(kernel, stride, padding, dilation)} has a size below 1")
        channels, height, width = _numbers("shape", shape, 3)
        if min(channels, height, width) < 1:
            raise ValueError(f"shape {(channels, height, width)} has a size below 1")
        ring = None
        if place is not None:
            offset_bytes, rows = _numbers("place", place, 2)
            if rows < 1:
                raise ValueError("a place has at least one row")
            ring = Place(offset_bytes, rows)
        return cls(
            target,
            tuple(arguments),
            tuple((name, value) for name, value in keywords),
            RowWindow(kernel, stride, padding, dilation),
            (channels, height, width),
            dtype,
            ring,
        )

    def as_argument(self) -> tuple[Any, ...]:
        """Return the entry as it stands in an alternative's arguments."""
        window, place = self.window, self.place
        return (
            self.target,
            self.arguments,
            self.keywords,
            (window.kernel, window.stride, window.padding, window.dilation),
            self.shape,
            self.dtype,
            None if place is None else (place.offset_bytes, place.rows),
        )

    def locals(self) -> tuple[int, ...]:
        """Return the earlier entries that this one reads, in order."""
        return tuple(
            dict.fromkeys(locals_in((self.arguments, [value for _, value in self.keywords])))
        )


def _numbers(what: str, argument: Any, count: int) -> tuple[int, ...]:
    if (
        not isinstance(argument, tuple | list)
        or len(argument) != count
        or not all(
            isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_BYTES
            for number in argument
        )
    ):
        raise ValueError(f"{what} must be {count} numbers, none below 0")
    return tuple(argument)


def locals_in(argument: Any) -> Iterator[int]:
    """Yield the indices of earlier entries in an argument tree."""
    if isinstance(argument, tuple | list):
        for part in argument:
            yield from locals_in(part)
    elif isinstance(argument, LocalArgument):
        yield argument.local


def read_program(arguments: Sequence[Any]) -> tuple[StripEntry, ...]:
    """Return the entries of a program.

    Raises:
        ValueError: it is no program; says what is wrong.
    """
    entries = tuple(StripEntry.of(argument) for argument in arguments)
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise ValueError(f"a program has 1 to {MAX_ENTRIES} entries, this one {len(entries)}")
    for index, entry in enumerate(entries):
        if any(not 0 <= source < index for source in entry.locals()):
            raise ValueError(f"entry {index} reads an entry that is not before it")
    if entries[-1].place is not None:
        raise ValueError("the last entry's place is the output")
    return entries


def row_order(entries: Sequence[StripEntry]) -> list[tuple[int, int]]:
    """Return (entry, row) in the order of computation, for one sample.

    The last entry's rows in order; before each, the rows that it needs and that are not there
    yet, by the same rule.  Every row is computed at most once.
    """
    order: list[tuple[int, int]] = []
    done = [0] * len(entries)
    sources = [entry.locals() for entry in entries]

    def compute(index: int, row: int) -> None:
        last = entries[index].window.rows(row)[-1]
        for source in sources[index]:
            while done[source] <= min(last, entries[source].shape[1] - 1):
                compute(source, done[source])
        order.append((index, row))
        done[index] = row + 1

    for row in range(entries[-1].shape[1]):
        compute(len(entries) - 1, row)
    return order


def program_fault(alternative: Alternative) -> str | None:
    """Return what is wrong with a program in an alternative, or None."""
    try:
        entries = read_program(alternative.arguments)
    except ValueError as error:
        return str(error)
    if alternative.keywords:
        return "a program has no keywords"
    workspace = alternative.workspace_bytes
    rings: dict[Place, int] = {}
    for index, entry in enumerate(entries):
        if entry.target == ROW_STRIPS or entry.target == "memplan.fused":
            return f"entry {index} is a program of its own ({entry.target})"
        if not isinstance(entry.dtype, DtypeArgument) or entry.dtype.dtype == "bit":
            return f"entry {index} needs an element type of whole bytes"
        if entry.place is not None:
            channels, _, width = entry.shape
            row_bytes = channels * width * BITS[entry.dtype.dtype] // 8
            if rings.setdefault(entry.place, row_bytes) != row_bytes:
                return f"entry {index} shares its place with rows of another size"
    end = 0
    for place in sorted(rings, key=lambda place: place.offset_bytes):
        if place.offset_bytes < end:
            return "two rings overlap"
        end = place.offset_bytes + place.rows * rings[place]
    if end > min(workspace.fixed, workspace.fixed + workspace.per_sample):
        return f"its rings end at {end}, behind its {workspace.fixed} bytes of workspace"
    return None
