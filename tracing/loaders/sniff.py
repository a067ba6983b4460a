"""What kind of file a model file is, told by its content and not by its name."""

from __future__ import annotations

import zipfile
from typing import Literal

from memplan.ir.errors import ModelError
from memplan.tracing.loaders.archive import Archive

__all__ = ["Kind", "sniff"]

Kind = Literal["pt2", "torchscript", "pickle", "legacy pickle", "unknown"]


def sniff(path: str) -> Kind:
    """Tell the kind of a file.

    Raises:
        ModelError: the file cannot be read, is empty, or is a damaged archive.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise ModelError(f"{path}: the file is empty")
    if head.startswith(b"PK") or zipfile.is_zipfile(path):
        return _sniff_archive(path)
    # The protocol mark of a bare pickle, as torch.save wrote it before version 1.6.
    return "legacy pickle" if head[0] == 0x80 else "unknown"


def _sniff_archive(path: str) -> Kind:
    with Archive(path) as archive:
        names = archive.names
    if any(name.endswith("models/model.json") for name in names):
        return "pt2"
    tails = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        return "torchscript"
    return "pickle" if "data.pkl" in tails else "unknown"
