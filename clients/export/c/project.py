"""The folder of a generated project: which files, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from memplan.clients.export.c.plan_source import PlanSource, write_plan
from memplan.clients.export.c.readme import readme
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = ["Project", "check_folder", "write_project"]

#: Left in every project, so that --force replaces projects and nothing else.
_MARK = "plan.h"


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project.

    Attributes:
        folder: where it is.
        arena_bytes: what it writes while it runs, beside the stack.
        constant_bytes: frozen weights, and first values of updated ones.
        kernels: names of the kernels in it.
        files: names of all files, relative to the folder.
        input_ids: tensors of the graph behind ``memplan_inputs``, then ``memplan_streams``.
        parameter_ids: those behind ``memplan_parameters``.
        output_ids: those behind ``memplan_outputs``.
    """

    folder: Path
    arena_bytes: int
    constant_bytes: int
    kernels: tuple[str, ...]
    files: tuple[str, ...]
    input_ids: tuple[str, ...]
    parameter_ids: tuple[str, ...]
    output_ids: tuple[str, ...]


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Raise RequestError where a project cannot be written.

    ``force`` replaces a project, but no other folder.
    """
    if not folder.exists():
        if not folder.absolute().parent.is_dir():
            raise RequestError(f"-o {folder}: there is no folder {folder.parent}; create it first")
        return
    if not folder.is_dir():
        raise RequestError(f"-o {folder}: this is a file; name a folder that is new or empty")
    if not any(folder.iterdir()):
        return
    if not force:
        raise RequestError(
            f"-o {folder}: the folder is not empty; name another, or --force to replace a project"
        )
    if not (folder / _MARK).is_file():
        raise RequestError(
            f"-o {folder}: --force replaces exported projects only, and this has no {_MARK}; name "
            "a folder that is new or empty"
        )


def write_project(
    graph: OpGraph,
    plan: Plan,
    values: Mapping[str, bytes],
    folder: Path,
    *,
    samples: bytes | None = None,
    force: bool = False,
) -> Project:
    """Write a plan as a C project.

    Args:
        graph: what the plan is for.
        plan: a plan that ``check`` accepts.
        values: see ``write_plan``.
        folder: new or empty, unless ``force``.
        samples: samples.bin, for ``make run``.
        force: replace a project that is there.

    Raises:
        RequestError: the folder is not empty, or cannot be written.
        ModelError: operations have no kernel.
        DataError: a value is missing.
    """
    check_folder(folder, force=force)
    source = write_plan(graph, plan, values)
    contents = _contents(graph, plan, source)
    if samples is not None:
        contents["samples.bin"] = samples
    try:
        _write(folder, contents)
    except OSError as failure:
        raise RequestError(
            f"-o {folder}: {failure.strerror or failure}; nothing was written there"
        ) from None
    return Project(
        folder=folder,
        arena_bytes=plan.totals.arena_bytes,
        constant_bytes=source.constants.size_bytes,
        kernels=tuple(sorted(source.kernels)),
        files=tuple(sorted(contents)),
        input_ids=source.input_ids,
        parameter_ids=source.parameter_ids,
        output_ids=source.output_ids,
    )


def _contents(graph: OpGraph, plan: Plan, source: PlanSource) -> dict[str, bytes]:
    sources = files("memplan.clients.executors") / "c"
    contents = {
        "plan.h": source.header.encode(),
        "plan_unshared.h": source.unshared_header.encode(),
        "plan.c": source.source.encode(),
        "weights.h": source.constants.header().encode(),
        **source.constants.files(),
        "README.txt": readme(graph, plan, source.constants.size_bytes).encode(),
    }
    for folder in ("runtime", "device"):
        for entry in (sources / folder).iterdir():
            if entry.is_file():
                contents[entry.name] = entry.read_bytes()
    contents.update(_kernels(sources / "kernels", source.kernels))
    return contents


def _kernels(folder: Traversable, wanted: frozenset[str]) -> dict[str, bytes]:
    """Return the sources of kernels and of what they include."""
    found: dict[str, bytes] = {}
    pending = sorted(wanted)
    while pending:
        kernel = pending.pop()
        for suffix in (".h", ".c"):
            name = f"{kernel}{suffix}"
            entry = folder / name
            if f"kernels/{name}" in found or not entry.is_file():
                continue
            text = entry.read_bytes()
            found[f"kernels/{name}"] = text
            for line in text.decode().splitlines():
                if line.startswith('#include "'):
                    pending.append(line.split('"')[1].removesuffix(".h"))
    return found


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files under a temporary name, then put them in place."""
    parent = folder.absolute().parent
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=parent))
    try:
        for name, content in contents.items():
            path = temporary / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)  # mkdtemp's folders are private
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=parent))
            folder.rename(old / "project")
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
