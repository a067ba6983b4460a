"""Packing: buffers with given lifetimes, and the answer to where they go."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memplan.ir.errors import DataError
from memplan.ir.limits import MAX_BUFFERS, MAX_BYTES, MAX_JSON_BYTES, MAX_NAME

__all__ = [
    "PackedBuffer",
    "PackingAnswer",
    "PackingBuffer",
    "PackingStatus",
    "check_buffers",
    "read_buffers",
]

#: ``optimal``: the least capacity that there is; ``infeasible``: proved that there is no packing;
#: ``undecided``: the time ran out before a packing or a proof.
PackingStatus = Literal["optimal", "feasible", "infeasible", "undecided"]

_COLUMNS = ("id", "lower", "upper", "size")
_MAX_TIME = 2**53
_INTEGER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True, slots=True)
class PackingBuffer:
    """``size`` bytes that are live over the half-open interval of time [lower, upper)."""

    id: str
    lower: int
    upper: int
    size: int
    #: The offset is a multiple of it.
    alignment: int = 1


@dataclass(frozen=True, slots=True)
class PackedBuffer:
    """Where a buffer begins, in bytes."""

    id: str
    offset: int


@dataclass(frozen=True, slots=True)
class PackingAnswer:
    """What became of a packing problem."""

    status: PackingStatus
    #: Bytes: as asked, or the least that was found.
    capacity: int
    #: Proven: no packing takes less.
    lower_bound: int
    #: Highest end of a buffer; None without a packing.
    height: int | None
    #: In the order of the problem; empty without a packing.
    buffers: tuple[PackedBuffer, ...]
    solve_seconds: float


def check_buffers(buffers: Sequence[PackingBuffer]) -> None:
    """Return if ``buffers`` are a packing problem.

    Raises:
        DataError: they are not; the message names the first one that is wrong.
    """
    if len(buffers) > MAX_BUFFERS:
        raise DataError(f"{len(buffers)} buffers; at most {MAX_BUFFERS} can be packed")
    seen: set[str] = set()
    for buffer in buffers:
        fault = _fault(buffer, seen)
        if fault:
            raise DataError(f"buffer {buffer.id!r}: {fault}")
        seen.add(buffer.id)


def read_buffers(path: Path, alignment: int = 1) -> tuple[PackingBuffer, ...]:
    """Read a CSV file with the columns id, lower, upper, size and perhaps alignment.

    The first line names the columns, in any order; further ones are ignored.  ``alignment`` is
    for buffers that have none of their own.

    Raises:
        DataError: the file cannot be read, or a line is wrong; the message names it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON_BYTES + 1)
        if len(raw) > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES} bytes; no list of buffers is")
        return tuple(_rows(path, raw.decode("utf-8-sig"), alignment))
    except OSError as failure:
        raise DataError(f"{path}: {failure.strerror or failure}; check the path") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: no text in UTF-8; give a CSV file") from None


def _rows(path: Path, text: str, alignment: int) -> list[PackingBuffer]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    buffers: list[PackingBuffer] = []
    seen: set[str] = set()
    place: dict[str, int] = {}
    columns = 0
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if not place:
                place, columns = _header(where, row), len(row)
                continue
            buffer = _buffer(where, row, place, columns, alignment)
            fault = _fault(buffer, seen)
            if fault:
                raise DataError(f"{where}: {fault}")
            if len(buffers) == MAX_BUFFERS:
                raise DataError(f"{where}: more than {MAX_BUFFERS} buffers cannot be packed")
            seen.add(buffer.id)
            buffers.append(buffer)
    except csv.Error as failure:
        raise DataError(f"{path}, line {reader.line_num}: {failure}; give a CSV file") from None
    if not place:
        raise DataError(f"{path}: empty; the first line names the columns {', '.join(_COLUMNS)}")
    return buffers


def _header(where: str, row: list[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in row]
    place = {name: names.index(name) for name in (*_COLUMNS, "alignment") if name in names}
    missing = [name for name in _COLUMNS if name not in place]
    twice = [name for name in place if names.count(name) > 1]
    if missing:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; the first line names the columns "
            f"{', '.join(_COLUMNS)} and perhaps alignment, in any order"
        )
    if twice:
        raise DataError(f"{where}: column {twice[0]} stands there twice")
    return place


def _buffer(
    where: str, row: list[str], place: dict[str, int], columns: int, alignment: int
) -> PackingBuffer:
    if any(cell.strip() for cell in row[columns:]):
        raise DataError(f"{where}: {len(row)} cells, and the first line names {columns} columns")

    def cell(name: str) -> str:
        if place[name] >= len(row):
            raise DataError(f"{where}: no {name}; the line has {len(row)} cells")
        return row[place[name]].strip()

    def number(name: str) -> int:
        text = cell(name)
        if not _INTEGER.fullmatch(text):
            raise DataError(f"{where}: {name} is {text[:40]!r}; it must be a whole number")
        return int(text)

    own = alignment
    if "alignment" in place and place["alignment"] < len(row) and cell("alignment"):
        own = number("alignment")
    return PackingBuffer(cell("id"), number("lower"), number("upper"), number("size"), own)


def _fault(buffer: PackingBuffer, seen: set[str]) -> str:
    """Return what is wrong with a buffer; nothing if it is right."""
    if not 0 < len(buffer.id) <= MAX_NAME:
        return f"its id has {len(buffer.id)} letters; give 1 to {MAX_NAME}"
    if buffer.id in seen:
        return f"id {buffer.id[:40]!r} stands there twice"
    if not -_MAX_TIME <= buffer.lower < buffer.upper <= _MAX_TIME:
        return (
            f"lower is {buffer.lower}, upper is {buffer.upper}; it lives over [lower, upper): "
            "lower must be less, and both at most 2**53 in magnitude"
        )
    if not 0 <= buffer.size <= MAX_BYTES:
        return f"size is {buffer.size}; it must be 0 to {MAX_BYTES} bytes"
    if not 1 <= buffer.alignment <= MAX_BYTES:
        return f"alignment is {buffer.alignment}; it must be 1 to {MAX_BYTES}"
    return ""
