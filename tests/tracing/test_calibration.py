"""Ranges of activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memplan.ir.errors import DataError, ModelError
from memplan.tracing.calibration import Ranges, calibrate
from memplan.tracing.loaders import load_module
from memplan.tracing.samples import Samples
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import prepare, trace


def model(batch: int = 4) -> tuple[nn.Sequential, torch.Tensor]:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    return module, torch.randn(batch, 1, 2, 2)


def ranges_of(module: nn.Module, x: torch.Tensor, samples: Samples | None) -> Ranges:
    forward, _, _ = prepare(load_module(module, (x,)), TraceSettings())
    return calibrate(forward, samples)


def test_ranges_are_those_of_the_folded_module_on_all_samples() -> None:
    module, example = model()
    x = torch.randn(11, 1, 2, 2)  # two batches and a part of one
    ranges = ranges_of(module, example, Samples({"x": x}))
    assert ranges.samples == 11
    folded = module[1](module[0](x)).detach()
    low, high = next(limits for name, limits in ranges.limits.items() if name.startswith("conv2d"))
    assert low == pytest.approx(float(folded.min()), rel=1e-5)
    assert high == pytest.approx(float(folded.max()), rel=1e-5)


def test_without_samples_ranges_are_a_seeded_guess_and_say_so() -> None:
    module, example = model()
    first, second = (ranges_of(module, example, None) for _ in range(2))
    assert first.samples == 0
    assert first.limits == second.limits
    graph = trace(load_module(module, (example,)), TraceSettings(quantize="int8"))
    assert graph.quantization is not None
    assert graph.quantization.calibration_samples == 0


def test_samples_of_another_shape_and_values_that_overflow_are_refused() -> None:
    module, example = model()
    with pytest.raises(DataError, match="the model takes"):
        ranges_of(module, example, Samples({"x": torch.randn(4, 1, 3, 2)}, source="d.npz"))
    for parameter in (*module[0].parameters(), *module[1].parameters()):
        nn.init.constant_(parameter, 1e30)
    with pytest.raises(ModelError, match="not finite"):
        trace(load_module(module, (example,)), TraceSettings(quantize="int8"))
