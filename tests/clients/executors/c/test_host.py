"""Generated projects of whole networks against the torch executor, and what guards them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from memplan.clients.executors.c.agreement import agreement
from memplan.clients.executors.c.host import (
    HostError,
    HostResult,
    build_host,
    find_compiler,
    run_host,
)
from memplan.clients.executors.torch import run_step
from memplan.ir.check import check
from memplan.ir.plan import Buffer, Plan
from tests.clients.executors.c.projects import Exported, export, with_kernels
from tests.clients.executors.training import (
    Traced,
    full_mask,
    random_inputs,
    random_mask,
    random_plan,
)

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)

STEPS = 2


def compare_with_torch(exported: Exported, inputs: dict[str, torch.Tensor]) -> HostResult:
    expected = run_step(
        exported.graph, exported.plan, exported.weights, inputs, steps=STEPS, measure_scratch=False
    )
    found = exported.run([inputs] * STEPS)
    verdict = agreement(exported.graph, exported.weights, found, expected)
    assert verdict.ok, (verdict.worst, verdict.worst_error)
    if expected.loss is not None:
        assert found.losses[-1] == pytest.approx(expected.loss, rel=1e-4)
    return found


@pytest.mark.parametrize(
    ("name", "optimizer", "micro_batch", "seed"),
    [
        ("plain_cnn", "sgd", 2, 1),
        ("bn_cnn", "momentum", 2, 2),
        ("mobilenet", "sgd", 1, 3),
        ("mobilenet", "adam", 4, 4),
        ("resnet", "sgd", 4, 5),
        ("unet", "momentum", 2, 6),
        ("densenet", "sgd", 1, 7),
        ("autoencoder", "sgd", 2, 8),
        ("encoder", "sgd", 2, 9),
        ("causal", "adam", 1, 10),
        ("dropped", "sgd", 2, 11),
    ],
)
def test_random_plans_give_what_the_torch_executor_gives(
    name: str, optimizer: Any, micro_batch: int, seed: int, tmp_path: Path
) -> None:
    model = with_kernels(name, optimizer)
    mask = random_mask(model.graph, seed)
    plan = random_plan(model.graph, 4, micro_batch, mask, seed)
    inputs = random_inputs(model.graph, 4, classes=model.classes, seed=seed)
    compare_with_torch(export(model, plan, tmp_path / "project"), inputs)


def test_an_inference(tmp_path: Path) -> None:
    model = with_kernels("mobilenet", mode="infer")
    plan = random_plan(model.graph, 2, 1, (), 1)
    inputs = random_inputs(model.graph, 2)
    found = compare_with_torch(export(model, plan, tmp_path / "project"), inputs)
    assert found.losses == ()
    assert all(len(value) == 2 for value in found.outputs.values())


def test_streamed_samples_are_read_trip_by_trip(tmp_path: Path) -> None:
    model = with_kernels("plain_cnn")
    plan = random_plan(model.graph, 4, 2, full_mask(model.graph), 1, stream_inputs=True)
    inputs = random_inputs(model.graph, 4, classes=model.classes)
    compare_with_torch(export(model, plan, tmp_path / "project"), inputs)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Traced]:
    model = with_kernels("mobilenet")
    plan = random_plan(model.graph, 4, 2, random_mask(model.graph, 1), 1)
    return export(model, plan, tmp_path_factory.mktemp("mobilenet") / "project"), model


@pytest.mark.parametrize("variant", ["filled", "unshared", "asan"])
def test_every_variant_gives_the_same_bits(
    variant: Any, mobilenet: tuple[Exported, Traced]
) -> None:
    exported, model = mobilenet
    inputs = [random_inputs(model.graph, 4, classes=model.classes)] * STEPS
    assert exported.run(inputs, variant).results == exported.run(inputs).results


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_with_an_overlap_is_caught_by_the_checker_and_by_bits(
    seed: int, tmp_path: Path
) -> None:
    model = with_kernels("plain_cnn")
    plan = random_plan(model.graph, 2, 2, full_mask(model.graph), seed)
    mutant = with_overlap(plan, seed)
    assert not check(model.graph, mutant).accepted
    exported = export(model, mutant, tmp_path / "project")
    inputs = [random_inputs(model.graph, 2, classes=model.classes)]
    assert exported.run(inputs).results != exported.run(inputs, "unshared").results


def with_overlap(plan: Plan, seed: int) -> Plan:
    """Return a plan in which a tensor's bytes are written while another one's are needed."""
    reads = {
        number: [i for i, step in enumerate(plan.steps) if number in step.reads]
        for number in range(len(plan.buffers))
    }
    pairs = [
        (early, late)
        for early in plan.buffers
        for late in plan.buffers
        if _is_result(plan, early)
        and _is_result(plan, late)
        and late.size_bytes >= 64
        and early.size_bytes >= 64
        and reads[late.id]
        # `late` is written after `early` and before the last time that `early` is read.
        and early.start_step < late.start_step < max(reads[early.id], default=-1)
    ]
    assert pairs
    early, late = pairs[(seed * 7919) % len(pairs)]
    moved = late.model_copy(update={"offset": early.offset})
    buffers = tuple(moved if buffer.id == late.id else buffer for buffer in plan.buffers)
    totals = plan.totals.model_copy(
        update={"arena_bytes": max(b.offset + b.size_bytes for b in buffers)}
    )
    return plan.model_copy(update={"buffers": buffers, "totals": totals})


def _is_result(plan: Plan, buffer: Buffer) -> bool:
    written = any(buffer.id in step.writes for step in plan.steps)
    return buffer.scope == "body" and buffer.tensor is not None and written


def test_a_step_that_touches_a_dead_tensor_is_caught_by_the_sanitizer(tmp_path: Path) -> None:
    model = with_kernels("plain_cnn")
    plan = random_plan(model.graph, 2, 2, full_mask(model.graph), 1)
    exported = export(model, plan, tmp_path / "project")
    inputs = [random_inputs(model.graph, 2, classes=model.classes)]
    folder = exported.project.folder
    exported.run(inputs, "asan")
    source = (folder / "plan.c").read_text()
    # The last step of all reads the first activation instead of its own operand.
    last = source.rindex("memplan_sgd(")
    start = source.index("AT(float, ", last)
    operand = source.index("AT(float, ", start + 1)
    end = source.index(")", operand)
    victim = next(b for b in plan.buffers if b.tensor == plan.body[0].operation)
    place = f"AT(float, {victim.offset}u"
    (folder / "plan.c").write_text(source[:operand] + place + source[end:])
    with pytest.raises(HostError, match=r"use-after-poison"):
        exported.run(inputs, "asan")


def test_a_program_that_ends_early_is_an_error(mobilenet: tuple[Exported, Traced]) -> None:
    exported, model = mobilenet
    program = build_host(exported.project.folder)
    other = random_inputs(model.graph, 4)
    ids = (exported.project.input_ids[:1], exported.project.parameter_ids, ())
    with pytest.raises(HostError, match="another number of inputs"):
        run_host(program, exported.graph, exported.plan, ids, exported.weights, [other])


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(HostError, match=r"no C compiler 'no-such-compiler'.*install one"):
        find_compiler()


def test_a_project_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    model = with_kernels("plain_cnn")
    plan = random_plan(model.graph, 2, 2, full_mask(model.graph), 1)
    exported = export(model, plan, tmp_path / "project")
    (exported.project.folder / "plan.c").write_text("int broken(\n")
    with pytest.raises(HostError, match=r"make build/plan_host fails: .*plan\.c"):
        build_host(exported.project.folder)
