"""Integer weights and their tables, by hand and through files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memplan.ir.errors import DataError
from memplan.ir.fixed_point import fixed_point
from memplan.ir.graph import QuantizedStep, WeightSource
from memplan.tracing.quantized_weights import channel_scales, quantized_value
from memplan.tracing.weights import (
    apply_source,
    build_weights,
    read_weights_file,
    real_parameters,
    write_weights,
)
from tests.support.int8_networks import Residual, quantized

WEIGHT = torch.tensor([[[1.27, -0.635]], [[0.0, 0.0]], [[-1e-9, 0.0]], [[0.254, 0.001]]])


def test_scales_are_a_127th_of_the_largest_and_never_tiny() -> None:
    least = 0.01 * 2.0**-12
    assert channel_scales(WEIGHT).tolist() == pytest.approx([0.01, least, least, 0.002])
    assert channel_scales(torch.zeros(2, 3)).tolist() == [1.0, 1.0]


def test_weights_are_rounded_half_to_even() -> None:
    step = QuantizedStep(result="weight")
    got = quantized_value(step, WEIGHT, WEIGHT)
    assert got.dtype == torch.int8
    assert got[0].flatten().tolist() == [127, -64]
    assert got[3].flatten().tolist() == [127, 0]
    assert not got[1].any()


def test_biases_have_the_scale_of_the_accumulator() -> None:
    bias = torch.tensor([1.0, 1e12, -1e12, 0.001])
    step = QuantizedStep(result="bias", input_scale=0.5)
    got = quantized_value(step, bias, WEIGHT)
    assert got.tolist() == [200, 2**30, -(2**30), 1]
    assert got.dtype == torch.int32


def test_tables_are_fixed_point_factors() -> None:
    step = QuantizedStep(result="multipliers", input_scale=0.5, output_scale=0.125)
    multipliers = quantized_value(step, WEIGHT, WEIGHT)
    shifts = quantized_value(step.model_copy(update={"result": "shifts"}), WEIGHT, WEIGHT)
    for scale, multiplier, shift in zip(
        channel_scales(WEIGHT).double().tolist(), multipliers.tolist(), shifts.tolist(), strict=True
    ):
        assert (multiplier, shift) == fixed_point(4 * scale)
    assert (multipliers.dtype, shifts.dtype) == (torch.int32, torch.int8)


def test_values_that_have_no_integers() -> None:
    source = WeightSource(kind="copy", names=("w",), quantized=QuantizedStep(result="weight"))
    with pytest.raises(DataError, match="w: it has values that are not finite"):
        apply_source(source, {"w": torch.tensor([[1.0, float("nan")]])})
    step = QuantizedStep(result="shifts", output_scale=1e-30)
    with pytest.raises(DataError, match="factor"):
        apply_source(source.model_copy(update={"quantized": step}), {"w": torch.ones(1, 1)})


def test_integers_survive_a_weights_file(tmp_path: Path) -> None:
    case = quantized(Residual)
    path = str(tmp_path / "weights.safetensors")
    write_weights(path, case.weights)
    again = read_weights_file(case.graph, path)
    assert again.keys() == case.weights.keys()
    for name, value in again.items():
        assert torch.equal(value, case.weights[name])
        assert str(value.dtype) == f"torch.{case.graph.tensor[name].dtype}"


def test_integers_stand_for_the_folded_weights() -> None:
    case = quantized(Residual)
    real = real_parameters(case.graph, case.model.read_weights)
    assert build_weights(case.graph, case.model.read_weights).keys() == case.weights.keys()
    for name in ("stem.weight", "depth.weight", "narrow.bias"):
        known = case.graph.tensor[name].quantization
        assert known is not None
        scales = case.weights[known.scales or ""].double() * known.scale
        unit = scales.view(-1, *[1] * (real[name].dim() - 1))
        error = (case.weights[name].double() * unit - real[name].double()).abs()
        assert bool((error <= 0.5001 * unit).all())
