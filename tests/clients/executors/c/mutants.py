"""Mistakes on purpose: plans and projects that are wrong in one way each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from memplan.clients.export.c import Project
from memplan.ir.check import check
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.c.projects import Exported, export
from tests.clients.executors.training import Traced, full_mask, random_inputs, traced_module
from tests.support.naive_plan import naive_plan, plain_body

__all__ = ["MUTANTS", "RAM_BYTES", "STACK_BYTES", "Subject", "good_subject"]

BATCH = 2
STACK_BYTES = 1024
#: For stack, arena, .data and .bss; what the arena of the good plan may take is in the request.
RAM_BYTES = 10_240
ARENA_LIMIT_BYTES = RAM_BYTES - STACK_BYTES - 64


@dataclass(frozen=True)
class Subject:
    """A plan and its project, which may be wrong.

    Attributes:
        plan: what the checker is asked about.
        exported: the project, made of that plan.
        samples: of one batch.
    """

    plan: Plan
    exported: Exported
    samples: Mapping[str, torch.Tensor]

    @property
    def folder(self) -> Path:
        """Where the project is."""
        return self.exported.project.folder


@cache
def _network() -> Traced:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    )
    return traced_module(layers, {"x": torch.randn(BATCH, 24)}, TraceSettings())


def good_subject(folder: Path) -> Subject:
    """Return three linear layers with a plan in 9 KB that is right, and its project."""
    graph, mask = _network().graph, full_mask(_network().graph)
    request = PlanRequest(
        budget_bytes=ARENA_LIMIT_BYTES,
        batch=BATCH,
        update=mask,
        compute_limit=None,
        alignment_bytes=32,
    )
    plan = naive_plan(
        graph,
        request,
        mask,
        micro_batch=BATCH,
        body=plain_body(graph, {update.layer: update for update in mask}, 1),
        reuse=True,
        in_place=True,
    )
    report = check(graph, plan)
    assert report.accepted, report
    return _exported(plan, folder)


def _exported(plan: Plan, folder: Path) -> Subject:
    samples = random_inputs(_network().graph, BATCH, classes=4)
    return Subject(plan, export(_network(), plan, folder), samples)


def _with_buffer_at(plan: Plan, name: str, offset: int) -> Plan:
    buffers = tuple(
        buffer.model_copy(update={"offset": offset}) if buffer.tensor == name else buffer
        for buffer in plan.buffers
    )
    assert buffers != plan.buffers
    return plan.model_copy(update={"buffers": buffers})


def _changed(good: Subject, folder: Path, file: str, old: str, new: str) -> Subject:
    """Return the subject with a line of a copy of its project changed."""
    shutil.copytree(good.folder, folder)
    text = (folder / file).read_text()
    assert text.count(old) == 1, (file, old, text.count(old))
    (folder / file).write_text(text.replace(old, new))
    project: Project = replace(good.exported.project, folder=folder)
    return replace(good, exported=replace(good.exported, project=project))


def _last_in_step(good: Subject, folder: Path, step: str, statement: str) -> Subject:
    """Return the subject whose code of a step has a statement more at its end."""
    start = f"static void step_{step}(void) {{"
    text = (good.folder / "plan.c").read_text()
    found = re.search(rf"^{re.escape(start)}$.*?^}}$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    old = found[0]
    return _changed(good, folder, "plan.c", old, f"{old[:-1]}    {statement}\n}}")


def _same_bytes(good: Subject, folder: Path) -> Subject:
    """The second activation is written where the first one still is needed."""
    first = next(buffer for buffer in good.plan.buffers if buffer.tensor == "0.relu")
    return _exported(_with_buffer_at(good.plan, "2.relu", first.offset), folder)


def _beyond_the_arena(good: Subject, folder: Path) -> Subject:
    offset = good.plan.totals.arena_bytes // 32 * 32
    return _exported(_with_buffer_at(good.plan, "2.relu", offset), folder)


def _over_the_budget(good: Subject, folder: Path) -> Subject:
    """An activation lies high up, and the arena is as large as that asks for."""
    offset = ARENA_LIMIT_BYTES + 4096
    plan = _with_buffer_at(good.plan, "2.relu", offset)
    totals = plan.totals.model_copy(update={"arena_bytes": offset + 128})
    return _exported(plan.model_copy(update={"totals": totals}), folder)


def _over_the_budget_and_linked(good: Subject, folder: Path) -> Subject:
    """The same, and the linker's region is larger than what the MPU is told."""
    mutant = _over_the_budget(good, folder.with_name("over-the-budget"))
    mutant = _changed(
        mutant,
        folder.with_name("linked"),
        "memplan.ld",
        "LENGTH = RAM_BYTES\n",
        "LENGTH = RAM_BYTES + 65536\n",
    )
    return _changed(mutant, folder, "memplan.ld", "LENGTH(RAM);", "RAM_BYTES;")


def _dead(good: Subject, folder: Path) -> Subject:
    return _last_in_step(
        good,
        folder,
        "0_bias_gradient",
        "AT(float, OFFSET_T0_BIAS_GRADIENT)[0] += AT(float, OFFSET_T4_LOG_SOFTMAX_BACKWARD)[0];",
    )


def _undeclared(good: Subject, folder: Path) -> Subject:
    return _last_in_step(
        good, folder, "2_relu", "AT(float, OFFSET_T2_RELU)[0] += AT(float, OFFSET_T0_RELU)[40];"
    )


def _read_only(good: Subject, folder: Path) -> Subject:
    return _last_in_step(good, folder, "2", "AT(float, OFFSET_T0_RELU)[40] = 0.25f;")


def _beyond_the_budget(good: Subject, folder: Path) -> Subject:
    """Of 10,240 bytes the arena begins behind the stack."""
    offset = RAM_BYTES - STACK_BYTES
    return _last_in_step(good, folder, "2", f"*(volatile float *)AT(float, {offset}u) = 1.0f;")


def _deep(good: Subject, folder: Path) -> Subject:
    """4 KiB of stack, far more than there is."""
    start = "static void step_2(void) {"
    deep = (
        "__attribute__((noinline)) static void deep(void) {\n"
        "    volatile uint8_t bytes[4096];\n"
        "    for (int i = 0; i < 4096; ++i) bytes[i] = (uint8_t)i;\n"
        "    (void)bytes[17];\n"
        "}\n"
    )
    return _changed(good, folder, "plan.c", start, f"{deep}{start}\n    deep();")


def _contracted(good: Subject, folder: Path) -> Subject:
    return _changed(good, folder, "device.mk", "-ffp-contract=off", "-ffp-contract=fast")


#: By the words of the table in docs/microcontroller.md; None: nothing is wrong.
MUTANTS: Mapping[str, Callable[[Subject, Path], Subject] | None] = {
    "none": None,
    "two tensors, both needed, at the same bytes": _same_bytes,
    "a buffer that reaches out of the arena": _beyond_the_arena,
    "an arena larger than the budget": _over_the_budget,
    "the same, where the linker script allows it": _over_the_budget_and_linked,
    "a step reads a dead tensor": _dead,
    "a step reads a live tensor that is not its operand": _undeclared,
    "a step writes into what it only reads": _read_only,
    "a step writes beyond the budget": _beyond_the_budget,
    "the stack overflows": _deep,
    "the board's compiler rounds differently": _contracted,
}
