"""The files of a project: what is in them, and that they are written whole or not at all."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from memplan.clients.executors.c.values import first_values
from memplan.clients.export.c import check_folder, write_project
from memplan.ir.errors import DataError, ModelError, RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from tests.clients.executors.c.projects import export, with_kernels
from tests.clients.executors.training import Traced, full_mask, random_plan


@pytest.fixture(scope="module")
def model() -> Traced:
    return with_kernels("plain_cnn")


@pytest.fixture(scope="module")
def plan(model: Traced) -> Plan:
    return random_plan(model.graph, 4, 2, full_mask(model.graph), 3)


def test_offsets_are_those_of_the_plan(model: Traced, plan: Plan, tmp_path: Path) -> None:
    folder = export(model, plan, tmp_path / "p").project.folder
    header = (folder / "plan.h").read_text()
    offsets = [int(n) for n in re.findall(r"#define OFFSET_\w+ +(\d+)u", header)]
    assert sorted(offsets) == sorted(buffer.offset for buffer in plan.buffers)
    assert f"#define MEMPLAN_ARENA_BYTES {plan.totals.arena_bytes}u" in header
    for step in plan.steps:
        assert f"  {step.operation}" in header


def test_unshared_buffers_share_nothing(model: Traced, plan: Plan, tmp_path: Path) -> None:
    folder = export(model, plan, tmp_path / "p").project.folder
    header = (folder / "plan_unshared.h").read_text()
    offsets = [int(n) for n in re.findall(r"#define OFFSET_\w+ +(\d+)u", header)]
    sizes = [int(n) for n in re.findall(r"#define BYTES_\w+ +(\d+)u", header)]
    ends = sorted(zip(offsets, sizes, strict=True))
    assert len(ends) == len(plan.buffers)
    assert all(a + size < b for (a, size), (b, _) in pairwise(ends))


def test_only_kernels_in_use_are_in_it(model: Traced, plan: Plan, tmp_path: Path) -> None:
    project = export(model, plan, tmp_path / "p").project
    assert "kernels/convolution.c" in project.files
    assert not any("attention" in name or "embedding" in name for name in project.files)
    source = (project.folder / "plan.c").read_text()
    included = set(re.findall(r'#include "kernels/(\w+)\.h"', source))
    assert included == set(project.kernels)


def test_no_step_allocates_or_calls_a_library(model: Traced, plan: Plan, tmp_path: Path) -> None:
    folder = export(model, plan, tmp_path / "p").project.folder
    for path in (folder / "plan.c", folder / "runtime.c", *(folder / "kernels").iterdir()):
        source = path.read_text()
        assert not re.search(r"\b(malloc|calloc|free|alloca|memcpy|memset|expf|logf)\(", source)
        assert not re.search(r"#include <(stdlib|string|stdio|math)\.h>", source)


def test_a_folder_with_something_in_it_is_left_alone(
    model: Traced, plan: Plan, tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="not empty"):
        export(model, plan, tmp_path / "p")
    with pytest.raises(RequestError, match="replaces exported projects only"):
        write_project(model.graph, plan, {}, tmp_path / "p", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    with pytest.raises(RequestError, match="this is a file"):
        check_folder(tmp_path / "p" / "notes.txt")
    with pytest.raises(RequestError, match="there is no folder"):
        check_folder(tmp_path / "no" / "p")


def test_force_replaces_a_project(model: Traced, plan: Plan, tmp_path: Path) -> None:
    exported = export(model, plan, tmp_path / "p")
    (tmp_path / "p" / "old.txt").write_text("old")
    values = first_values(model.graph, plan, model.weights)
    write_project(model.graph, plan, values, tmp_path / "p", force=True)
    assert not (tmp_path / "p" / "old.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"p"}
    assert exported.project.files


def test_every_operation_without_a_kernel_is_listed(
    model: Traced, plan: Plan, tmp_path: Path
) -> None:
    def unknown(graph: OpGraph, names: tuple[str, ...]) -> OpGraph:
        operations = tuple(
            operation.model_copy(
                update={
                    "alternatives": tuple(
                        way.model_copy(update={"target": "aten.frobnicate.default"})
                        for way in operation.alternatives
                    )
                }
            )
            if operation.id in names
            else operation
            for operation in graph.operations
        )
        return graph.model_copy(update={"operations": operations})

    names = tuple(step.operation for step in plan.body[:6:2])
    values = first_values(model.graph, plan, model.weights)
    graph = unknown(model.graph, names)
    with pytest.raises(ModelError) as failure:
        write_project(graph, plan, values, tmp_path / "p")
    text = str(failure.value)
    assert "aten.frobnicate.default (no kernel)" in text
    assert all(name in text for name in names)
    assert not (tmp_path / "p").exists()


def test_a_missing_weight_is_named(model: Traced, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"weights: '.*' is missing"):
        write_project(model.graph, plan, {}, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_two_regions_are_refused(model: Traced, plan: Plan, tmp_path: Path) -> None:
    moved = plan.buffers[0].model_copy(update={"region": "dtcm"})
    split = plan.model_copy(update={"buffers": (moved, *plan.buffers[1:])})
    with pytest.raises(ModelError, match=r"2 regions \(dtcm, ram\)"):
        export(model, split, tmp_path / "p")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_project_lists_its_own_checks(model: Traced, plan: Plan, tmp_path: Path) -> None:
    folder = export(model, plan, tmp_path / "p").project.folder
    makefile = (folder / "Makefile").read_text()
    for target in ("run", "check", "asan", "unshared", "device"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        assert target in (folder / "README.txt").read_text() or target in ("asan", "unshared")
