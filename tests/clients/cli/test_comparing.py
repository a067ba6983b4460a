"""When the numbers show nothing, or rounding decides them, and when they are simply wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from memplan.clients.cli.comparing import Trial, compare_with
from memplan.clients.cli.samples import random_inputs
from memplan.clients.executors.torch import (
    Precision,
    Reference,
    StepResult,
    autograd_step,
    examine,
    run_step,
)
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing import TraceSettings, trace
from memplan.tracing.loaders import load_module
from memplan.tracing.weights import build_weights
from tests.clients.executors.training import full_mask, random_plan

FACTORY = "tests.clients.cli.test_comparing:faint"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def faint() -> tuple[nn.Module, torch.Tensor]:
    """Return a network whose fresh weights let every signal vanish."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width in (3, 8, 8, 8):
        layers += [nn.Conv2d(width, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(1e-12)
    return module.eval(), torch.randn(2, 3, 8, 8)


class Kinked(nn.Module):
    """One unit whose sum is zero, and only in exact arithmetic known to be so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(64, 8)
        self.second = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.relu(self.first(x)))
        return y


@dataclass(frozen=True)
class Case:
    """A plan of a full update with what it starts from."""

    graph: OpGraph
    plan: Plan
    trial: Trial

    def run(self, trial: Trial) -> StepResult:
        return run_step(
            self.graph,
            self.plan,
            trial.weights,
            trial.samples,
            seed=trial.seed,
            keep_gradients=True,
            measure_scratch=False,
        )

    def draw(self, seed: int) -> Mapping[str, torch.Tensor]:
        return random_inputs(self.graph, 2, seed)


def case_of(module: nn.Module, example: torch.Tensor) -> Case:
    model = load_module(module, example)
    graph = trace(model, TraceSettings())
    plan = random_plan(graph, 2, 2, full_mask(graph), seed=0)
    weights = build_weights(graph, model.read_weights)
    return Case(graph, plan, Trial(weights, random_inputs(graph, 2, 0), 0))


@pytest.fixture(scope="module")
def vanishing() -> Case:
    return case_of(*faint())


@pytest.fixture(scope="module")
def kinked() -> Case:
    """Sample 0 puts unit 0 at the kink: its sum is far smaller than its rounding errors."""
    case = case_of(Kinked(), torch.randn(2, 64))
    first = next(layer for layer in case.graph.layers if layer.id == "first")
    assert first.weight is not None
    assert first.bias is not None
    name = next(tensor.id for tensor in case.graph.tensors if tensor.role == "input")
    x = case.trial.samples[name].clone()
    weight, bias = case.trial.weights[first.weight], case.trial.weights[first.bias].clone()
    bias[0] = -float((weight[0].double() * x[0].double()).sum())
    weights = {**case.trial.weights, first.bias: bias}
    return replace(case, trial=replace(case.trial, weights=weights))


def spoilt(result: StepResult, name: str, factor: float) -> StepResult:
    gradients = {**result.gradients, name: factor * result.gradients[name]}
    return replace(result, gradients=gradients)


@pytest.mark.parametrize("against", ["autograd", FACTORY])
def test_vanishing_signals_are_replaced(against: str, vanishing: Case) -> None:
    trial = vanishing.trial
    verdict = compare_with(
        against, vanishing.graph, vanishing.plan, trial, vanishing.run(trial), run=vanishing.run
    )
    assert verdict.agrees, verdict.detail
    assert verdict.weights == "random"
    assert "vacuous" in verdict.notes[0]
    assert verdict.as_json()["notes"] == list(verdict.notes)


@pytest.mark.parametrize("against", ["autograd", FACTORY])
def test_wrong_kernels_are_seen_behind_vanishing_signals(against: str, vanishing: Case) -> None:
    weight = vanishing.graph.layers[1].weight
    assert weight is not None

    def run(trial: Trial) -> StepResult:
        return spoilt(vanishing.run(trial), weight, 1.01)

    trial = vanishing.trial
    verdict = compare_with(against, vanishing.graph, vanishing.plan, trial, run(trial), run=run)
    assert not verdict.agrees
    assert verdict.weights == "random"
    assert weight in verdict.detail


def with_other_decision(case: Case) -> Callable[[Trial], StepResult]:
    """Return a run in which rounding decided the unit on the kink the other way."""
    first = next(layer for layer in case.graph.layers if layer.id == "first")
    assert first.bias is not None
    bias = first.bias
    reference = autograd_step(case.graph, case.plan.mask, 2, case.trial.weights, case.trial.samples)

    def run(trial: Trial) -> StepResult:
        for nudge in (1e-6, -1e-6):
            moved = trial.weights[bias].clone()
            moved[0] += nudge
            result = case.run(replace(trial, weights={**trial.weights, bias: moved}))
            changed = result.gradients[bias] - reference.gradients[bias]
            if float(changed.abs().max()) > 1e-3:
                back = {**result.updated, bias: result.updated[bias] - moved + trial.weights[bias]}
                return replace(result, updated=back)
        raise AssertionError("the unit is not on the kink")

    return run


def test_rounding_that_decides_an_activation_is_found_and_said(kinked: Case) -> None:
    run = with_other_decision(kinked)
    trial = kinked.trial
    verdict = compare_with("autograd", kinked.graph, kinked.plan, trial, run(trial), run=run)
    assert verdict.agrees, verdict.detail
    assert verdict.weights == "given"
    assert "rounding decides this step" in verdict.notes[0]
    assert "float64" in verdict.notes[0]


@pytest.mark.parametrize("factor", [1.01, 1.5, 0.0, -1.0])
def test_wrong_kernels_are_seen_beside_the_kink(factor: float, kinked: Case) -> None:
    other = with_other_decision(kinked)
    weight = kinked.graph.layers[0].weight
    assert weight is not None

    def run(trial: Trial) -> StepResult:
        result = other(trial) if trial.seed == 0 else kinked.run(trial)
        return spoilt(result, weight, factor)

    for redraw in (None, kinked.draw):
        trial = kinked.trial
        verdict = compare_with(
            "autograd", kinked.graph, kinked.plan, trial, run(trial), run=run, redraw=redraw
        )
        assert not verdict.agrees
        assert verdict.notes


def test_a_determined_step_is_not_excused(kinked: Case) -> None:
    samples = kinked.draw(1)
    reference = autograd_step(kinked.graph, kinked.plan.mask, 2, kinked.trial.weights, samples)
    result = kinked.run(replace(kinked.trial, samples=samples))
    weight = kinked.graph.layers[0].weight
    assert weight is not None

    def again(precision: Precision | None) -> Reference:
        return autograd_step(
            kinked.graph, kinked.plan.mask, 2, kinked.trial.weights, samples, precision=precision
        )

    opinion = examine(spoilt(result, weight, 1.01), reference, again)
    assert opinion.determined
    assert opinion.match is None
    assert opinion.spread < 1e-4
    right = examine(result, reference, again)
    assert right.match is not None
    wrong = spoilt(result, weight, 1.01)

    def run(trial: Trial) -> StepResult:
        raise AssertionError("a wrong result must not get another chance")

    trial = replace(kinked.trial, samples=samples)
    verdict = compare_with(
        "autograd", kinked.graph, kinked.plan, trial, wrong, run=run, redraw=kinked.draw
    )
    assert not verdict.agrees
    assert verdict.notes == ()
