"""Files: read small JSON tables, write whole files or none."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from memplan.ir.errors import RequestError
from memplan.ir.limits import MAX_JSON_BYTES
from memplan.ir.request import LayerUpdate

__all__ = [
    "must_be_writable",
    "new_file",
    "read_contributions",
    "read_mask",
    "write_text",
]


def must_be_writable(path: Path | None, flag: str) -> None:
    """Raise RequestError, before anything long runs, where a file cannot be written."""
    if path is None:
        return
    folder = path.parent
    if path.is_dir():
        raise RequestError(f"{flag} {path}: this is a folder; name a file in it")
    if path.exists() and not path.is_file():
        # Renaming over a device or a pipe would replace it.
        raise RequestError(f"{flag} {path}: this is no regular file; name one that can be replaced")
    if not folder.is_dir():
        raise RequestError(f"{flag} {path}: there is no folder {folder}; create it first")
    if not os.access(folder, os.W_OK):
        raise RequestError(f"{flag} {path}: the folder {folder} is not writable; choose another")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of ``path``; it becomes ``path`` only at the end.

    Raises:
        RequestError: the system refuses to write.
    """
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are private
        temporary.replace(path)
    except OSError as failure:
        raise RequestError(
            f"{path}: {failure.strerror or failure}; nothing was written there"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or none."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_mask(path: Path) -> tuple[LayerUpdate, ...]:
    """Read an update mask: a JSON list of ``{"layer": ..., "bias": ..., "weight": ...}``.

    Raises:
        RequestError: the file cannot be read, or is no such list.
    """
    if not path.exists():
        raise RequestError(
            f"--update {path}: no such file, and none of auto, full, last-layer, bias"
        )
    text = _read(path, "--update")
    try:
        return TypeAdapter(tuple[LayerUpdate, ...]).validate_json(text)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_context=False)[0]
        # Beside indices and names of fields, a place has the kinds that a union tried.
        where = ".".join(
            str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier()
        )
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
        if where.endswith(".weight"):
            message = "must be 'none', 'whole', 'input' or 'output'"
        raise RequestError(
            f"--update {path}: {where}{': ' if where else ''}{message}; a mask is a JSON list such "
            'as [{"layer": "fc", "bias": true, "weight": "whole"}]'
        ) from None


def read_contributions(path: Path) -> dict[str, float]:
    """Read the table of ``--criterion contribution``: a JSON object from layer to gain.

    Raises:
        RequestError: the file cannot be read, or is no such object.
    """
    text = _read(path, "--contributions")
    try:
        table = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict) or not all(_is_gain(value) for value in table.values()):
        raise RequestError(
            f"--contributions {path}: expected a JSON object from layer to a gain of 0 or more, "
            'such as {"fc": 0.8}'
        )
    return {name: float(value) for name, value in table.items()}


def _is_gain(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300


def _read(path: Path, flag: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_JSON_BYTES + 1)
    except OSError as failure:
        raise RequestError(
            f"{flag} {path}: {failure.strerror or failure}; check the path"
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
