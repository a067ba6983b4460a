"""Arrays of an ``.npz`` file that is not trusted: no pickles, and sizes are checked first."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from memplan.ir.errors import DataError
from memplan.tracing.loaders.failures import one_line

__all__ = ["Header", "name_samples", "read_arrays"]

#: All arrays of a file together, unpacked.
MAX_DATA_BYTES = 16 * 2**30
MAX_ARRAYS = 1000

_SAVE = "save arrays x and y with numpy.savez"


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of an array before its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype


def read_arrays(
    path: str, check: Callable[[Mapping[str, Header]], None] | None = None
) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name: numbers all, none of them empty, all of them finite.

    Headers are read first.  Nothing is unpacked or allocated for an array whose header promises
    more or less than the file holds.

    Args:
        check: called with all headers before anything is unpacked (a few megabytes may become
            gigabytes); raises DataError where an array is of no use.

    Raises:
        DataError: there is no such file, it is damaged or too large, or an array holds pickled
            objects or something else than finite numbers.
    """
    _must_be_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if e.filename.endswith(".npy")]
            size_bytes = sum(entry.file_size for entry in entries)
            if size_bytes > MAX_DATA_BYTES or len(entries) > MAX_ARRAYS:
                raise DataError(
                    f"{path}: {len(entries)} arrays of {size_bytes} bytes, at most {MAX_ARRAYS} "
                    f"of {MAX_DATA_BYTES} are read; save fewer samples"
                )
            headers = {_name(entry): _check_header(archive, entry, path) for entry in entries}
            if check is not None:
                check(headers)
            return {_name(entry): _read(archive, entry, path) for entry in entries}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, KeyError, SyntaxError, zlib.error) as error:
        raise DataError(_unreadable(path, error)) from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(_unreadable(path, error)) from None


def name_samples(rows: Sequence[int]) -> str:
    """Return ``sample 3``, ``samples 0 and 3`` or ``samples 0, 3, 4 and 5 more``."""
    if len(rows) == 1:
        return f"sample {rows[0]}"
    most = 3 if len(rows) > 4 else len(rows) - 1
    last = f"{len(rows) - most} more" if len(rows) > most + 1 else str(rows[most])
    return f"samples {', '.join(str(row) for row in rows[:most])} and {last}"


def _must_be_file(path: str) -> None:
    if Path(path).is_dir():
        raise DataError(f"{path}: this is a folder; name an .npz file")
    try:
        with Path(path).open("rb") as file:
            start = file.read(npy.MAGIC_LEN)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: {reason}; check the path") from None
    if start.startswith(npy.MAGIC_PREFIX):
        raise DataError(f"{path}: this is one array (.npy); {_SAVE}")


def _check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str) -> Header:
    where = _where(entry, path)
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{where} has another format than numbers have; {_SAVE}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        found = entry.file_size - file.tell()
    if dtype.hasobject:
        raise DataError(f"{where} holds pickled Python objects, which are not read; save numbers")
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise DataError(f"{where} has dtype {dtype}; numbers are needed")
    if any(size < 0 for size in shape):
        raise DataError(f"{where} has the shape {list(shape)}; {_SAVE}")
    if math.prod(shape) == 0:
        raise DataError(f"{where} is empty (shape {list(shape)}); save at least one sample")
    promised = math.prod(shape) * dtype.itemsize
    if promised != found:
        raise DataError(
            f"{where} claims the shape {list(shape)}, which is {promised} bytes; the file holds "
            f"{found}; {_SAVE}"
        )
    return Header(tuple(shape), dtype)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str) -> np.ndarray:
    with archive.open(entry) as file:
        array: np.ndarray = npy.read_array(file, allow_pickle=False)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = _where(entry, path)
        if not array.shape:
            raise DataError(f"{where} is not finite; remove it")
        rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
        raise DataError(
            f"{where} has values that are not finite (NaN or infinity) in "
            f"{name_samples(rows.tolist())}; clean or remove them"
        )
    return array


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _where(entry: zipfile.ZipInfo, path: str) -> str:
    return f"{path}: array {_name(entry)[:60]!r}"


def _unreadable(path: str, error: BaseException) -> str:
    return f"{path}: cannot be read as .npz ({one_line(error, 120)}); {_SAVE}"
