"""The arithmetic of masks and micro-batches, by hand."""

from __future__ import annotations

import pytest

from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import (
    alternative_allowed,
    alternative_cost,
    cut,
    frozen_bytes,
    input_bytes,
    tensor_bytes,
    updated_parameters,
    workspace_bytes,
)
from tests.support.hand_graphs import BOTH, statistics, two_layers

GRAPH = two_layers()
WHOLE = LayerUpdate(layer="l2", bias=True, weight="whole")
INPUTS = LayerUpdate(layer="l2", weight="input", channels=(0, 2, 3))
OUTPUTS = LayerUpdate(layer="l2", bias=True, weight="output", channels=(5,))


@pytest.mark.parametrize(
    ("update", "weight_bytes", "slice_bytes"),
    [
        (None, 64, 160),
        (WHOLE, 64, 160),
        (INPUTS, 48, 120),  # 3 of 4 channels of 64 bytes, and of 2 * 80
        (OUTPUTS, 8, 160),  # 1 of 8; the saved slice follows input channels only
    ],
)
def test_tensor_bytes(update: LayerUpdate | None, weight_bytes: int, slice_bytes: int) -> None:
    mask = {} if update is None else {"l2": update}
    assert tensor_bytes(GRAPH.tensor["w2"], 2, mask) == weight_bytes
    assert tensor_bytes(GRAPH.tensor["slice1"], 2, mask) == slice_bytes
    assert tensor_bytes(GRAPH.tensor["w1"], 2, mask) == 80  # another layer's
    assert tensor_bytes(GRAPH.tensor["h1"], 2, mask) == 160


def test_costs_follow_the_mask() -> None:
    gradient = GRAPH.operation["linear2.weight_gradient"]
    plain, saved = gradient.alternatives
    assert alternative_cost(gradient, plain, 2, {"l2": WHOLE}) == (400, 320)
    assert alternative_cost(gradient, plain, 2, {"l2": OUTPUTS}) == (50, 40)
    assert alternative_cost(gradient, saved, 2, {"l2": INPUTS}) == (300, 240)
    assert workspace_bytes(gradient, plain, 2, {"l2": OUTPUTS}) == 4
    assert workspace_bytes(gradient, saved, 2, {"l2": INPUTS}) == 0
    relu = GRAPH.operation["relu1"]
    assert alternative_cost(relu, relu.alternatives[0], 3, {"l2": OUTPUTS}) == (0, 480)


def test_alternatives_for_axes() -> None:
    gradient = GRAPH.operation["linear2.weight_gradient"]
    plain, saved = gradient.alternatives
    bias = LayerUpdate(layer="l2", bias=True)
    for update, allowed in ((WHOLE, (1, 0)), (OUTPUTS, (1, 0)), (INPUTS, (0, 1)), (bias, (0, 0))):
        mask = {"l2": update}
        assert alternative_allowed(gradient, plain, mask) == bool(allowed[0])
        assert alternative_allowed(gradient, saved, mask) == bool(allowed[1])
    assert not alternative_allowed(gradient, plain, {})
    relu = GRAPH.operation["relu1"]
    assert alternative_allowed(relu, relu.alternatives[0], {})


def test_cut_takes_the_axis_of_the_mask_only() -> None:
    slices = GRAPH.tensor["w2"].slices
    assert [(s.axis, s.channels) for s in slices] == list(BOTH)
    assert cut(64, slices, INPUTS) == 48
    assert cut(64, slices[1:], INPUTS) == 64
    assert cut(64, slices, LayerUpdate(layer="l2", bias=True)) == 64


def test_updated_parameters() -> None:
    assert updated_parameters(GRAPH, {}) == set()
    assert updated_parameters(GRAPH, {"l2": INPUTS}) == {"w2"}
    assert updated_parameters(GRAPH, {"l2": WHOLE}) == {"w2", "b2"}
    assert updated_parameters(GRAPH, {"ghost": WHOLE}) == set()


def test_input_bytes_are_the_batch_unless_streamed() -> None:
    x = GRAPH.tensor["x"]  # 40 bytes per sample
    assert input_bytes(x, 8, 2, stream_inputs=False) == 320
    assert input_bytes(x, 8, 2, stream_inputs=True) == 80
    assert input_bytes(x, 8, 8, stream_inputs=True) == 320


def test_frozen_bytes() -> None:
    assert frozen_bytes(GRAPH, 2, {}) == 80 + 8 + 64 + 8
    assert frozen_bytes(GRAPH, 2, {"l2": WHOLE}) == 80 + 8
    assert frozen_bytes(GRAPH, 2, {"l2": INPUTS}) == 80 + 8 + (64 - 48) + 8
    # A state that some operation mutates is never read-only; a constant always is.
    whole = LayerUpdate(layer="bn", weight="whole")
    assert frozen_bytes(statistics(), 2, {"bn": whole}) == 20
    assert frozen_bytes(statistics(), 2, {}) == 20 + 16
