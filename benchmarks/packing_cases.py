"""Packing instances: CSV files as ``plan pack`` reads them, and rectangles in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from memplan.ir.packing import PackingBuffer, read_buffers

__all__ = ["Case", "cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """One instance; ``capacity`` in bytes where its name tells one."""

    name: str
    buffers: tuple[PackingBuffer, ...]
    capacity: int | None
    alignment: int


def cases(paths: Iterable[Path]) -> Iterator[Case]:
    """Yield the instances of files, and of all CSV files of folders.

    ``name.1048576.csv`` asks for a capacity, ``executorch-*`` has the alignment 16.  A JSON file
    holds ``{name: {"rects": [[start, end, bytes, ...]]}}``, one instance each.
    """
    for path in paths:
        if path.is_dir():
            yield from cases(sorted(path.glob("*.csv")))
        elif path.suffix == ".json":
            for name, each in json.loads(path.read_text()).items():
                if isinstance(each, dict) and "rects" in each:
                    yield Case(f"{path.stem} {name}", _rectangles(each["rects"]), None, 1)
        else:
            asked = re.search(r"\.(\d+)\.csv$", path.name)
            alignment = 16 if path.name.startswith("executorch") else 1
            yield Case(
                path.name.removesuffix(".csv").removesuffix(f".{asked[1]}" if asked else ""),
                read_buffers(path, alignment),
                int(asked[1]) if asked else None,
                alignment,
            )


def _rectangles(rows: list[list[int]]) -> tuple[PackingBuffer, ...]:
    return tuple(PackingBuffer(str(i), row[0], row[1], row[2]) for i, row in enumerate(rows))
