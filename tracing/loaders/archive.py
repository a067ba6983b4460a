"""Bounded reading of zip archives: what a file declares is checked before a byte is inflated."""

from __future__ import annotations

import os
import zipfile
from types import TracebackType

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_TENSORS
from memplan.tracing.loaders.failures import one_line

__all__ = ["Archive"]


class Archive:
    """A zip file of which entries are read by name, each below a cap.

    Args:
        path: an existing file.

    Raises:
        ModelError: truncated, too many entries, entries that overlap, or names that occur twice.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            entries = self._zip.infolist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path}: not a whole zip archive ({one_line(error, 120)})") from None
        if len(entries) > MAX_TENSORS:
            raise ModelError(f"{path}: {len(entries)} entries, at most {MAX_TENSORS} are read")
        if sum(entry.compress_size for entry in entries) > os.path.getsize(path):
            raise ModelError(f"{path}: the archive's entries overlap; it is damaged or hostile")
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise ModelError(f"{path}: an entry occurs twice in the archive")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> frozenset[str]:
        """Names of all entries."""
        return frozenset(self._entries)

    def size(self, name: str) -> int:
        """Return the bytes of an entry, as declared; it is not read beyond them.

        Raises:
            ModelError: there is no such entry.
        """
        if name not in self._entries:
            raise ModelError(f"{self.path}: the archive has no entry {name!r}; it is incomplete")
        return self._entries[name].file_size

    def is_compressed(self, name: str) -> bool:
        """Tell whether an entry is anything but plain bytes."""
        return self._entries[name].compress_type != zipfile.ZIP_STORED

    def read(self, name: str, limit_bytes: int, *, stored_only: bool = False) -> bytes:
        """Read one entry.

        Args:
            name: of the entry.
            limit_bytes: a larger one is refused before anything is read.
            stored_only: refuse a compressed entry, so that a small file cannot become a large one.

        Raises:
            ModelError: the entry is missing, larger than the limit, compressed or damaged.
        """
        size = self.size(name)
        if size > limit_bytes:
            raise ModelError(
                f"{self.path}: {name} has {size} bytes, at most {limit_bytes} are read"
            )
        if stored_only and self.is_compressed(name):
            raise ModelError(
                f"{self.path}: {name} is compressed; torch does not do that, so store it plainly"
            )
        try:
            return self._zip.read(name)
        except Exception as error:  # zlib, lzma, bz2 and zipfile each have errors of their own
            raise ModelError(f"{self.path}: {name} is damaged ({one_line(error, 120)})") from None
