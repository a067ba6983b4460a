"""Programs of ``memplan.row_strips``: which rows an entry needs, and the order of all of them.

Tracing sizes line buffers by this order, executors follow it (``memplan.ir.targets`` has the rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memplan.ir.dtypes import BITS
from memplan.ir.graph import (
    Alternative,
    DtypeArgument,
    LocalArgument,
    OperandArgument,
    OpGraph,
    Tensor,
)
from memplan.ir.limits import MAX_BYTES
from memplan.ir.units import Affine

__all__ = [
    "INPUT_ROWS",
    "MAX_ENTRIES",
    "MAX_ROWS",
    "ROW_STRIPS",
    "Place",
    "RowWindow",
    "StripEntry",
    "locals_in",
    "program_fault",
    "read_program",
    "ring_fault",
    "row_order",
    "rows_to_prove",
    "spent_rows",
    "takes_rows",
    "used_up_fault",
]

ROW_STRIPS = "memplan.row_strips"
#: An entry whose rows the host gives, one after the other.
INPUT_ROWS = "memplan.input_rows"
#: Entries of a program; the order of rows is found by a recursion of this depth.
MAX_ENTRIES = 100
#: Of all programs of a graph that use an operand up: their order of rows is looked at to prove it.
MAX_ROWS = 2**18


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
    #: Null: rows are computed where the output has them.  The last entry has a place only where
    #: an operand is used up.
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


def ring_fault(entries: Sequence[StripEntry], order: Sequence[tuple[int, int]]) -> str | None:
    """Return which row is needed after another took its place, or None.

    Args:
        order: ``row_order(entries)``.
    """
    held: dict[tuple[Any, int], tuple[int, int]] = {}

    def slot(index: int, row: int) -> tuple[Any, int]:
        place = entries[index].place
        return (place, row if place is None else row % place.rows)

    for index, row in order:
        entry = entries[index]
        for source in entry.locals():
            for needed in entry.window.rows(row):
                inside = 0 <= needed < entries[source].shape[1]
                if inside and held.get(slot(source, needed)) != (source, needed):
                    return (
                        f"entry {index} needs row {needed} of entry {source}, which is gone: its "
                        "ring has too few rows"
                    )
        held[slot(index, row)] = (index, row)
    return None


def spent_rows(
    entries: Sequence[StripEntry], reads_operand: Callable[[StripEntry], bool], height: int
) -> list[int]:
    """Return for each row of the result how many rows of an operand are spent behind it.

    When row r has been computed, nothing needs the operand's rows below the r-th number any more.

    Args:
        reads_operand: whether an entry reads the operand.
        height: of the operand.
    """
    readers = [index for index, entry in enumerate(entries) if reads_operand(entry)]
    order = row_order(entries)
    total = [0] * len(entries)
    for index, row in order:
        total[index] = row + 1
    done = [0] * len(entries)
    spent = []
    for index, row in order:
        done[index] = row + 1
        if index == len(entries) - 1:
            needed = [
                max(0, entries[reader].window.rows(done[reader])[0])
                for reader in readers
                if done[reader] < total[reader]
            ]
            spent.append(min([height, *needed]))
    return spent


def rows_to_prove(entries: Sequence[StripEntry]) -> int:
    """Return what it costs to prove that an operand is used up, in rows (see ``MAX_ROWS``)."""
    return sum(entry.shape[1] * (1 + len(entry.locals())) for entry in entries)


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
        if entry.target == INPUT_ROWS and not _is_source(entry):
            return f"entry {index} takes rows of an input by its name, by nothing else, into a ring"
        if not isinstance(entry.dtype, DtypeArgument) or entry.dtype.dtype == "bit":
            return f"entry {index} needs an element type of whole bytes"
        if entry.place is not None:
            row_bytes = _row_bytes(entry)
            if rings.setdefault(entry.place, row_bytes) != row_bytes:
                return f"entry {index} shares its place with rows of another size"
    end = 0
    for place in sorted(rings, key=lambda place: place.offset_bytes):
        if place.offset_bytes < end:
            return "two rings overlap"
        end = place.offset_bytes + place.rows * rings[place]
    if end > min(workspace.fixed, workspace.fixed + workspace.per_sample):
        return f"its rings end at {end}, behind its {workspace.fixed} bytes of workspace"
    last = entries[-1].place
    if (last is None) != (alternative.uses_up is None):
        return "the last entry's place is the output, or a ring where an operand is used up"
    return None


def used_up_fault(alternative: Alternative, operand: Tensor, result: Tensor) -> str | None:
    """Return why a program cannot use up an operand, or None.

    Finished rows of the result wait in the operand's bytes, in spent rows: there must be room.
    A graph whose ``rows_to_prove`` are too many is not for this.
    """
    entries = read_program(alternative.arguments)
    shape = operand.shape[1:]
    if (
        len(shape) != 3
        or operand.dtype == "bit"
        or any(size.per_sample or size.fixed < 1 for size in shape)
    ):
        return f"{operand.id} has no rows of fixed size"
    if sum(read.tensor == operand.id for read in alternative.reads) > 1:
        return f"{operand.id} is read in two ways"
    read = alternative.reads[alternative.uses_up or 0]
    if read.shape is not None and (read.shape, read.strides, read.offset) != (
        operand.shape,
        operand.strides,
        Affine(0),
    ):
        return f"{operand.id} is not read as it lies"
    channels, height, width = (size.fixed for size in shape)
    dense = (Affine(channels * height * width), Affine(height * width), Affine(width), Affine(1))
    if operand.strides != dense or result.shape[0] != operand.shape[0]:
        return f"{operand.id} is not row-major, or has other samples than the result"
    for entry in entries:
        if _reads(entry, alternative.uses_up) and not _goes_by_rows(entry, height):
            return f"{operand.id} is not read row by row by {entry.target}"
    spent = spent_rows(entries, lambda entry: _reads(entry, alternative.uses_up), height)
    row_bytes = _row_bytes(entries[-1])
    free_bytes = channels * width * BITS[operand.dtype] // 8
    for row, count in enumerate(spent):
        if (row + 1) * row_bytes > count * free_bytes:
            return f"row {row} of the result finds no room in {count} spent rows of {operand.id}"
    return None


def takes_rows(graph: OpGraph) -> bool:
    """Tell whether some operation of a graph may take the rows of an input from the host."""
    return any(
        alternative.target == ROW_STRIPS
        and any(entry.target == INPUT_ROWS for entry in read_program(alternative.arguments))
        for operation in graph.operations
        for alternative in operation.alternatives
    )


def _row_bytes(entry: StripEntry) -> int:
    channels, _, width = entry.shape
    return channels * width * BITS[entry.dtype.dtype] // 8


def _reads(entry: StripEntry, operand: int | None) -> bool:
    def found(argument: Any) -> bool:
        if isinstance(argument, tuple | list):
            return any(found(part) for part in argument)
        return isinstance(argument, OperandArgument) and argument.operand == operand

    return found((entry.arguments, entry.keywords))


def _goes_by_rows(entry: StripEntry, height: int) -> bool:
    """Tell whether an entry's last row needs rows at the end: else the operand is repeated."""
    window = entry.window
    return window.rows(entry.shape[1] - 1)[0] < height + window.padding


def _is_source(entry: StripEntry) -> bool:
    """Tell whether an entry that takes rows from the host is complete."""
    return (
        len(entry.arguments) == 1
        and isinstance(entry.arguments[0], str)
        and not entry.keywords
        and entry.window == RowWindow()
        and entry.place is not None
    )
