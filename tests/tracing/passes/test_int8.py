"""What becomes int8, and with which bytes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from examples.mcunet import mobilenet_v2_035
from memplan.ir.errors import ModelError, RequestError
from memplan.ir.fixed_point import fixed_point
from memplan.ir.graph import OpGraph
from memplan.ir.sizes import frozen_bytes
from memplan.tracing.loaders import load_module
from memplan.tracing.passes.forward.int8 import parameters_of_range
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import trace
from tests.support.int8_networks import Excited, Mixed, Residual, quantized, targets


@pytest.fixture(scope="module")
def mobilenet() -> OpGraph:
    module, inputs = mobilenet_v2_035()
    return trace(load_module(module, inputs), TraceSettings(quantize="int8", batch=1))


def test_every_convolution_of_mobilenet_is_int8_and_the_head_is_not(mobilenet: OpGraph) -> None:
    found = targets(mobilenet)
    assert found.count("memplan.conv_int8") == 51
    assert found.count("memplan.add_int8") == 10
    assert found.count("memplan.mean_int8") == 1
    assert found.count("memplan.dequantize") == 1
    assert "aten.addmm.default" in found
    assert not {"aten.convolution.default", "aten.hardtanh.default", "memplan.quantize"} & set(
        found
    )
    head = mobilenet.layers[-1]
    assert mobilenet.tensor[head.weight or ""].dtype == "float32"


def test_saved_inputs_take_a_byte_and_masks_a_bit(mobilenet: OpGraph) -> None:
    (image,) = [tensor for tensor in mobilenet.tensors if tensor.role == "input"]
    assert (image.dtype, image.size_bytes.at(1)) == ("int8", 3 * 128 * 128)
    count = 0
    for operation in mobilenet.operations:
        plain = operation.alternatives[0]
        if plain.target == "memplan.conv_weight_gradient_int8x":
            x = mobilenet.tensor[plain.reads[1].tensor]
            assert x.dtype == "int8"
            assert x.size_bytes.at(3) == math.prod(size.at(3) for size in x.shape)
            count += 1
        if plain.target == "memplan.range_bits":
            y = mobilenet.tensor[plain.reads[0].tensor]
            bits = mobilenet.tensor[operation.writes[0]]
            per_sample = math.prod(size.at(1) for size in y.shape)
            assert bits.size_bytes.at(3) == 3 * -(-per_sample // 8)
            count += 1
        if plain.target == "memplan.gather_channels" and operation.layer != "21":
            assert mobilenet.tensor[operation.writes[0]].dtype == "int8"
        if operation.phase == "backward":
            assert all(mobilenet.tensor[name].dtype == "float32" for name in operation.writes)
    # One gradient per convolution; one mask per convolution, sum and mean.
    assert count == 51 + 51 + 10 + 1


def test_weights_biases_and_tables_are_counted(mobilenet: OpGraph) -> None:
    """By hand: weights and biases of the block table, and 9 bytes of tables per channel."""
    weights, channels, head = 238_688, 5_760, 112 * 10 + 10
    scalars = 4  # the gradient of the loss
    expected = weights + 4 * channels + (4 + 4 + 1) * channels + 4 * head + scalars
    assert frozen_bytes(mobilenet, 1, {}) == expected
    kinds = {layer.weight: mobilenet.tensor[layer.weight or ""] for layer in mobilenet.layers[:-1]}
    assert {tensor.dtype for tensor in kinds.values()} == {"int8"}
    for layer in mobilenet.layers[:-1]:
        bias = mobilenet.tensor[layer.bias or ""]
        assert (bias.dtype, bias.size_bytes.at(1)) == ("int32", 4 * bias.shape[0].fixed)


def test_updates_masks_and_slices_are_as_for_floats() -> None:
    floats = trace(quantized(Residual).model, TraceSettings())
    graph = quantized(Residual).graph
    for layer, other in zip(graph.layers, floats.layers, strict=True):
        assert (layer.id, layer.kind, layer.axes) == (other.id, other.kind, other.axes)
        assert layer.forward_macs == other.forward_macs
    ways = [(op.layer, op.alternatives[0]) for op in graph.operations]
    macs = {layer: way.macs for layer, way in ways if way.target == "memplan.conv_int8"}
    for layer in graph.layers[:-1]:
        assert macs[layer.id] == layer.forward_macs
    accumulators = [tensor for tensor in graph.tensors if tensor.role == "accumulator"]
    assert accumulators
    assert {tensor.dtype for tensor in accumulators} == {"float32"}
    names = {op.id: [way.name for way in op.alternatives] for op in graph.operations}
    assert names["wide.weight.gradient"] == ["plain", "saved_slice"]
    assert names["wide.weight.update"] == ["plain", "fused", "fused_saved_slice"]
    assert "from_bits" in names["wide.range_backward"]


def test_what_has_no_form_in_integers_stays_in_float32() -> None:
    found = targets(quantized(Excited).graph)
    assert {"aten.hardswish.default", "aten.cat.default", "aten.mul.Tensor"} <= set(found)
    assert found.count("memplan.conv_int8") == 4
    assert found.count("memplan.quantize") == 2
    mixed = targets(quantized(Mixed, size=17).graph)
    for target in (
        "aten.constant_pad_nd.default", "aten.max_pool2d.default", "memplan.max_pool_positions",
        "memplan.add_int8", "memplan.avg_pool_int8",
    ):  # fmt: skip
        assert target in mixed
    assert mixed.count("memplan.conv_int8") == 3
    assert mixed.count("memplan.dequantize") == 1


def test_padding_is_the_zero_point() -> None:
    graph = quantized(Mixed, size=17).graph
    (pad,) = [
        op for op in graph.operations
        if op.alternatives[0].target == "aten.constant_pad_nd.default"
    ]  # fmt: skip
    image = graph.tensor[pad.alternatives[0].reads[0].tensor]
    assert image.role == "input"
    assert image.quantization is not None
    assert pad.alternatives[0].arguments[2] == image.quantization.zero_point


def test_a_shared_weight_and_a_last_convolution_stay_in_float32() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Conv2d(3, 3, 3, padding=1)
            self.once = nn.Conv2d(3, 5, 1)
            self.last = nn.Conv2d(5, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.last(self.once(self.twice(self.twice(x))))
            return y

    graph = trace(load_module(Shared(), (torch.randn(2, 3, 4, 4),)), TraceSettings(quantize="int8"))
    dtypes = {layer.id: graph.tensor[layer.weight or ""].dtype for layer in graph.layers}
    assert dtypes == {"twice": "float32", "once": "int8", "last": "float32"}


def test_inference_has_integers_and_no_masks() -> None:
    graph = quantized(Residual, mode="infer").graph
    assert "memplan.conv_int8" in targets(graph)
    assert "memplan.range_bits" not in targets(graph)


def test_ranges_leave_a_level_beyond_what_no_activation_limits() -> None:
    scale, zero_point, low, high = parameters_of_range(-1.0, 3.0)
    assert (low, high) == (-128, 127)
    assert scale == pytest.approx(4 / 253)
    assert round(-1.0 / scale) + zero_point >= -127
    assert round(3.0 / scale) + zero_point <= 126
    scale, zero_point, *_ = parameters_of_range(0.5, 3.0, (0.0, math.inf))
    assert (scale == pytest.approx(3 / 254), zero_point) == (True, -128)
    # ReLU6 is exact, whatever was seen.
    scale, zero_point, *_ = parameters_of_range(0.5, 3.0, (0.0, 6.0))
    assert (scale == pytest.approx(6 / 255), zero_point) == (True, -128)
    assert parameters_of_range(0.0, 0.0)[0] > 0
    scale, zero_point, low, high = parameters_of_range(-9.0, 9.0, (-1.0, 1.0))
    assert abs((high - zero_point) * scale - 1) <= scale / 2
    assert abs((low - zero_point) * scale + 1) <= scale / 2
    assert parameters_of_range(0.0, 255.0, masked=False)[:2] == (1.0, -128)


def test_no_value_of_the_samples_counts_as_clamped_but_by_its_activation() -> None:
    case = quantized(Residual)
    assert case.graph.quantization is not None
    assert case.graph.quantization.calibration_samples == 4
    (narrow,) = [op for op in case.graph.operations if op.id == "narrow"]
    limits = narrow.alternatives[0].arguments[-2:]
    assert limits == (-128, 127)


def test_factors_of_the_graph_are_those_of_its_scales() -> None:
    graph = quantized(Residual).graph
    (total,) = [op for op in graph.operations if op.alternatives[0].target == "memplan.add_int8"]
    a, b = (graph.tensor[operand.tensor].quantization for operand in total.alternatives[0].reads)
    y = graph.tensor[total.writes[0]].quantization
    assert a is not None
    assert b is not None
    assert y is not None
    _, _, first, second, m, n, shift, *_ = total.alternatives[0].arguments
    assert (first, second) == (a.zero_point, b.zero_point)
    assert isinstance(m, int)
    assert isinstance(n, int)
    assert isinstance(shift, int)
    assert m / 2**shift == pytest.approx(a.scale / y.scale, rel=1e-5)
    assert n / 2**shift == pytest.approx(b.scale / y.scale, rel=1e-5)
    (mean,) = [op for op in graph.operations if op.alternatives[0].target == "memplan.mean_int8"]
    z = graph.tensor[mean.writes[0]].quantization
    assert z is not None
    assert mean.alternatives[0].arguments[3:5] == fixed_point(y.scale / (z.scale * 16))


def test_graphs_are_the_same_every_time() -> None:
    assert quantized(Excited).graph.to_json() == quantized(Excited).graph.to_json()


def test_settings_that_int8_does_not_have() -> None:
    with pytest.raises(RequestError, match="--optimizer sgd"):
        TraceSettings(quantize="int8", optimizer="adam")
    with pytest.raises(RequestError, match="--batch-norm frozen"):
        TraceSettings(quantize="int8", batch_norm="train")
    with pytest.raises(RequestError, match="quantize 'int4'"):
        TraceSettings(quantize="int4")  # type: ignore[arg-type]


def test_a_model_without_values_has_no_integers() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    model = load_module(module, (torch.randn(1, 3, 4, 4),))
    model = replace(
        model, read_weights=lambda: {n: v.to("meta") for n, v in module.named_parameters()}
    )
    with pytest.raises(ModelError, match="needs the values"):
        trace(model, TraceSettings(quantize="int8"))
