"""The original module is compared in the mode that the graph states, not that of its export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from memplan.clients.cli.comparing import Trial, Verdict, compare_with
from memplan.clients.cli.original import Original
from memplan.clients.cli.samples import random_inputs
from memplan.clients.executors.torch import StepResult, run_step
from memplan.tracing import TraceSettings, trace
from tests.clients.executors.training import full_mask, random_plan


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(dropout: float) -> nn.Sequential:
    torch.manual_seed(0)
    leading, norm = nn.BatchNorm2d(3), nn.BatchNorm2d(8)
    for part in (leading, norm):  # the first of them cannot be folded
        assert part.running_mean is not None
        assert part.running_var is not None
        nn.init.normal_(part.running_mean)
        nn.init.uniform_(part.running_var, 0.5, 2.0)
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(8, 4)]
    return nn.Sequential(leading, nn.ReLU(), nn.Conv2d(3, 8, 3), norm, *head)


def exported(path: Path, training: bool, dropout: float = 0.0, decomposed: bool = False) -> str:
    module = network(dropout).train(training)
    program = torch.export.export(module, (torch.randn(4, 3, 6, 6),))
    torch.export.save(program.run_decompositions() if decomposed else program, path)
    return str(path)


def compared(
    path: str, mode: Literal["train", "infer"], batch_norm: Literal["frozen", "train"] = "frozen"
) -> Verdict:
    original = Original.load(path, [], trust=False)
    graph = trace(original.model, TraceSettings(mode=mode, batch_norm=batch_norm))
    plan = random_plan(graph, 4, 4, full_mask(graph) if mode == "train" else (), seed=0)
    trial = Trial(original.weights_of(graph), random_inputs(graph, 4, 0), 0)

    def run(trial: Trial) -> StepResult:
        return run_step(
            graph, plan, trial.weights, trial.samples, seed=0, keep_gradients=mode == "train"
        )

    return compare_with(path, graph, plan, trial, run(trial), run=run)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_a_training_step(
    training: bool, batch_norm: Literal["frozen", "train"], tmp_path: Path
) -> None:
    verdict = compared(exported(tmp_path / "net.pt2", training), "train", batch_norm)
    assert verdict.agrees, verdict.detail


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_of_core_operations(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.pt2", training=False, decomposed=True)
    assert compared(path, "train", "train").agrees
    assert compared(path, "train", "frozen").agrees


@pytest.mark.parametrize("training", [True, False])
def test_an_inference(training: bool, tmp_path: Path) -> None:
    verdict = compared(exported(tmp_path / "net.pt2", training, dropout=0.5), "infer")
    assert verdict.agrees, verdict.detail
