"""Steps of generated projects whose blocks run channel by channel, against the torch executor."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memplan.clients.executors.c.agreement import agreement
from memplan.clients.executors.c.host import Variant
from memplan.clients.executors.c.values import first_values
from memplan.clients.executors.torch import run_step
from memplan.clients.export.c import write_project
from memplan.clients.export.c.call import UnsupportedError
from memplan.ir.answer import Answer
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.solver import solve
from tests.clients.executors.block_plans import (
    MASKS,
    Optimizer,
    block_plan,
    blocks_of,
    network,
    without_blocks,
)
from tests.clients.executors.c.kernel_program import Case, build_program
from tests.clients.executors.c.projects import Exported
from tests.clients.executors.c.strip_cases import Block, strip_case
from tests.clients.executors.training import full_mask, random_inputs
from tests.support.int8_networks import Quantized, Residual, quantized

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)

STEPS = 2


def tall_kernel() -> Case:
    return strip_case(Block(kernel=(17, 1), padding=(8, 0)))


def export(
    graph: OpGraph, plan: Plan, weights: Mapping[str, torch.Tensor], folder: Path
) -> Exported:
    project = write_project(graph, plan, first_values(graph, plan, weights), folder)
    assert "channel_strips" in project.kernels
    return Exported(graph, plan, dict(weights), project)


def agrees(exported: Exported, inputs: Mapping[str, torch.Tensor]) -> float:
    """Return the largest error, relative to the largest update of a parameter."""
    expected = run_step(exported.graph, exported.plan, exported.weights, inputs, steps=STEPS)
    found = exported.run([inputs] * STEPS)
    verdict = agreement(exported.graph, exported.weights, found, expected)
    assert verdict.ok, (verdict.worst, verdict.worst_error)
    assert found.losses[-1] == pytest.approx(expected.loss, rel=1e-4)
    changed = {
        name: int((value != exported.weights[name]).sum()) for name, value in found.updated.items()
    }
    assert all(changed.values()), changed
    return verdict.worst_error


@pytest.mark.parametrize(
    ("mask_name", "optimizer", "micro_batch"),
    [
        ("full", "momentum", 1),
        ("slice", "adam", 3),
        ("one depthwise bias", "momentum", 1),
    ],
)
def test_blocks_give_what_the_torch_executor_gives(
    mask_name: str, optimizer: Optimizer, micro_batch: int, tmp_path: Path
) -> None:
    case = network(optimizer)
    mask = MASKS.get(mask_name) or full_mask(case.graph)
    plan = block_plan(case.graph, mask, 3, micro_batch)
    assert len(blocks_of(case.graph, plan)) == 2
    exported = export(case.graph, plan, case.weights, tmp_path / "project")
    assert agrees(exported, random_inputs(case.graph, 3, classes=3)) < 1e-4


def int8_plan(
    micro_batch: int, channels: tuple[int, ...], *, scaling: bool = True
) -> tuple[Quantized, Plan]:
    """Return a network and a plan; ``channels`` of the block's first weight, or all of it."""
    # Without the scaling steps in integers are so short that only a huge rate moves any.
    rate = 4.0 if scaling else 1e6
    case = quantized(Residual, size=8, quantization_aware_scaling=scaling, learning_rate=rate)
    mask = full_mask(case.graph)
    if channels:
        part = LayerUpdate(layer="wide", weight="input", channels=channels, bias=True)
        mask = tuple(part if update.layer == "wide" else update for update in mask)
    if not scaling:
        # The head is real: it would not survive that rate.
        mask = tuple(update for update in mask if update.layer in ("stem", "wide", "depth"))
    return case, block_plan(case.graph, mask, 4, micro_batch)


@pytest.mark.parametrize(
    ("micro_batch", "channels", "scaling"), [(4, (), True), (2, (1, 2, 7), False)]
)
def test_int8_blocks_give_what_the_torch_executor_gives(
    micro_batch: int, channels: tuple[int, ...], scaling: bool, tmp_path: Path
) -> None:
    case, plan = int8_plan(micro_batch, channels, scaling=scaling)
    agrees(export(case.graph, plan, case.weights, tmp_path / "project"), case.inputs)


def test_int8_blocks_give_the_same_bits_in_every_variant(tmp_path: Path) -> None:
    case, plan = int8_plan(2, (0, 2, 5))
    exported = export(case.graph, plan, case.weights, tmp_path / "project")
    same_bits(exported, case.inputs, "filled", "unshared", "asan")


def same_bits(exported: Exported, inputs: Mapping[str, torch.Tensor], *variants: Variant) -> None:
    results = exported.run([inputs] * STEPS).results
    for variant in variants:
        assert exported.run([inputs] * STEPS, variant).results == results


def test_a_tight_plan_runs_in_the_bytes_that_plain_blocks_do_not_fit(tmp_path: Path) -> None:
    case = network()

    def solved(graph: OpGraph, budget: int) -> Answer:
        asked = PlanRequest(
            budget_bytes=budget, batch=1, update=MASKS["slice"], time_limit_seconds=2.0
        )
        return solve(graph, asked)

    budget = solved(without_blocks(case.graph), 1).lower_bound_bytes - 1
    plan = solved(case.graph, budget).plan
    assert plan is not None
    assert check(case.graph, plan).accepted
    exported = export(case.graph, plan, case.weights, tmp_path / "project")
    assert exported.project.arena_bytes <= budget
    inputs = random_inputs(case.graph, 1, classes=3)
    agrees(exported, inputs)
    same_bits(exported, inputs, "filled", "unshared")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"workspace_bytes": 96}, r"smaller than its planes \(\d+ B\)"),
        ({"covered": ()}, "3 updates and covers 0"),
        ({"arguments": ()}, "18 arguments are needed"),
        ({"arguments": tall_kernel().arguments}, "a kernel of 17 rows"),
    ],
)
def test_what_the_kernel_does_not_do_is_refused(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    case = replace(strip_case(Block()), **changes)
    with pytest.raises(UnsupportedError, match=reason):
        build_program(tmp_path, [case])
