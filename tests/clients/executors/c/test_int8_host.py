"""Generated projects of int8 networks against the torch executor: whole steps, and forward bits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from memplan.clients.executors.c.agreement import agreement
from memplan.clients.executors.c.values import first_values
from memplan.clients.executors.torch import run_step
from memplan.clients.export.c import write_project
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate
from tests.clients.executors.c.projects import Exported
from tests.clients.executors.training import full_mask, random_mask, random_plan
from tests.support.int8_networks import Excited, Mixed, Quantized, Residual, quantized

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)

NETWORKS: list[tuple[type[nn.Module], int]] = [(Residual, 8), (Mixed, 17), (Excited, 6)]


class Trunk(nn.Module):
    """Integers to the end; its head has the identity for a weight, so what comes out is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(6, 13, 1)
        self.depth = nn.Conv2d(13, 13, 5, padding=2, groups=13)
        self.same = nn.Conv2d(13, 6, 3, padding=1)
        self.head = nn.Linear(150, 150)
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.stem(x))
        y = self.same(F.relu6(self.depth(F.relu(self.wide(x)))))
        logits: torch.Tensor = self.head(F.avg_pool2d(x + y, 2).flatten(1))
        return logits


def export(case: Quantized, plan: Plan, folder: Path) -> Exported:
    weights = dict(case.weights)
    values = first_values(case.graph, plan, weights)
    return Exported(case.graph, plan, weights, write_project(case.graph, plan, values, folder))


def differs(exported: Exported, inputs: Mapping[str, torch.Tensor]) -> str:
    """Return what differs from the torch executor's step, or nothing."""
    expected = run_step(
        exported.graph, exported.plan, exported.weights, dict(inputs), measure_scratch=False
    )
    found = exported.run([inputs])
    verdict = agreement(exported.graph, exported.weights, found, expected, tolerance=1e-5)
    moved = [
        name
        for name, value in found.updated.items()
        if not value.is_floating_point() and not torch.equal(value, exported.weights[name])
    ]
    assert moved
    return "" if verdict.ok else f"{verdict.worst}: {verdict.worst_error}"


def test_the_whole_network_is_trained_in_micro_batches(tmp_path: Path) -> None:
    case = quantized(Residual)
    plan = random_plan(case.graph, 4, 2, full_mask(case.graph), seed=1)
    assert differs(export(case, plan, tmp_path / "project"), case.inputs) == ""


@pytest.mark.parametrize("seed", range(3))
def test_slices_are_trained(seed: int, tmp_path: Path) -> None:
    network, size = NETWORKS[seed]
    case = quantized(network, size=size)
    plan = random_plan(case.graph, 4, (4, 2)[seed % 2], random_mask(case.graph, seed), seed)
    assert differs(export(case, plan, tmp_path / "project"), case.inputs) == ""


def test_slices_change_their_channels_only_and_stay_with_their_operands(tmp_path: Path) -> None:
    case = quantized(Residual)
    mask = [
        LayerUpdate(layer="wide", bias=True, weight="input", channels=(0, 2, 3, 5)),
        LayerUpdate(layer="depth", bias=True, weight="input", channels=(1, 4, 9)),
        LayerUpdate(layer="narrow", bias=False, weight="output", channels=(2, 3, 7)),
    ]
    plan = random_plan(case.graph, 4, 2, mask, seed=3)
    exported = export(case, plan, tmp_path / "project")
    assert differs(exported, case.inputs) == ""
    found = exported.run([case.inputs])
    for layer, dim, channels in (("wide", 1, {0, 2, 3, 5}), ("narrow", 0, {2, 3, 7})):
        name = f"{layer}.weight"
        changed = (found.updated[name] != exported.weights[name]).flatten(2).any(2).any(1 - dim)
        assert set() < set(changed.nonzero().flatten().tolist()) <= channels
    assert exported.run([case.inputs], "asan").results == found.results


def test_without_quantization_aware_scaling(tmp_path: Path) -> None:
    # Without it steps are shorter by the square of a unit.
    case = quantized(Residual, quantization_aware_scaling=False, learning_rate=4e5)
    plan = random_plan(case.graph, 4, 4, full_mask(case.graph), seed=1)
    assert differs(export(case, plan, tmp_path / "project"), case.inputs) == ""


def test_what_an_inference_ends_with_is_the_same_bits(tmp_path: Path) -> None:
    case = quantized(Trunk, size=20, mode="infer")
    plan = random_plan(case.graph, 4, 2, (), seed=1)
    exported = export(case, plan, tmp_path / "project")
    expected = run_step(case.graph, plan, exported.weights, dict(case.inputs))
    found = exported.run([case.inputs])
    (name,) = expected.outputs
    assert torch.equal(found.outputs[name], expected.outputs[name])
    assert len(set(found.outputs[name].flatten().tolist())) > 50
