"""Files that would run code, or eat the memory, if anything believed them.

Every payload only creates a marker file.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["Payload", "edit_json", "export_pt2", "pickled_payload", "rewrite"]


class Payload:
    """Creates ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.marker}",))


def pickled_payload(marker: Path) -> bytes:
    """Return a pickle that creates ``marker``."""
    return pickle.dumps(Payload(marker), protocol=2)


def saved_payload(marker: Path) -> bytes:
    """Return what ``torch.save`` makes of the payload."""
    buffer = io.BytesIO()
    torch.save(Payload(marker), buffer)
    return buffer.getvalue()


def export_pt2(
    path: Path,
    module: nn.Module | None = None,
    inputs: tuple[Any, ...] | None = None,
    **options: Any,
) -> Path:
    """Write an exported program of a small convolutional net, or of ``module``."""
    if module is None:
        module = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
        ).eval()
        inputs = (torch.randn(2, 2, 4, 4),)
    assert inputs is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, inputs, **options)
    torch.export.save(program, str(path))
    return path


def rewrite(
    path: Path, edits: dict[str, bytes | Callable[[bytes], bytes]], compression: int = 0
) -> Path:
    """Replace or add entries of an archive; keys are ends of entry names.

    ``compression`` applies to the edited entries.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(entries)).split("/", 1)[0]
    edited = set()
    for tail, edit in edits.items():
        name = next((known for known in entries if known.endswith(tail)), f"{root}/{tail}")
        entries[name] = edit(entries.get(name, b"")) if callable(edit) else edit
        edited.add(name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(
                name, content, compress_type=compression if name in edited else zipfile.ZIP_STORED
            )
    return path


def edit_json(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """Return an edit of a JSON entry: ``change`` alters the parsed document in place."""

    def edit(text: bytes) -> bytes:
        document = json.loads(text)
        change(document)
        return json.dumps(document).encode()

    return edit
