from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from examples.mcunet import Block, InvertedResidual, mobilenet_v2_035
from memplan.ir.blocks import block_cost
from memplan.ir.channel_strips import CHANNEL_STRIPS, ChannelStrips, CoveredUpdate
from memplan.ir.graph import Alternative, OpGraph
from memplan.ir.request import LayerUpdate
from memplan.tracing import TraceSettings, trace
from memplan.tracing.loaders import load_module
from memplan.tracing.passes.channel_strips import offer_channel_strips
from tests.support.graph_interpreter import Outcome, run_step
from tests.support.models import randomise
from tests.support.passes import graph_without, labels_for, largest_difference, same_step

#: Of the block in the middle: pointwise, depthwise, pointwise.
EXPAND, DEPTHWISE, PROJECT = "2.layers.0", "2.layers.2", "2.layers.4"
NAMES = (
    "strips",
    "strips_biases_update", "strips_weight_update", "strips_weight_biases_update",
    "strips_slice_update", "strips_slice_biases_update",
    "strips_biases_accumulate", "strips_weight_accumulate", "strips_weight_biases_accumulate",
    "strips_slice_accumulate", "strips_slice_biases_accumulate",
)  # fmt: skip


def network(block: Block, activation: type[nn.Module] = nn.ReLU6) -> nn.Module:
    """A stem, one block and a classifier, on an image of 9 x 10."""
    inside = InvertedResidual(block)
    for index in (1, 3):
        inside.layers[index] = activation()
    return nn.Sequential(
        nn.Conv2d(2, block.channels_in, 1), nn.ReLU(), inside,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(block.channels, 5),
    )  # fmt: skip


def image(batch: int = 3) -> torch.Tensor:
    return 2 * torch.randn(batch, 2, 9, 10, generator=torch.Generator().manual_seed(1))


def strips_of(graph: OpGraph, operation: str = f"{EXPAND}.input_gradient") -> list[Alternative]:
    ways = graph.operation[operation].alternatives
    return [way for way in ways if way.target == CHANNEL_STRIPS]


def updates_of(way: Alternative) -> tuple[CoveredUpdate, ...]:
    return ChannelStrips.of(way.arguments).updates


def mask_of(*updates: LayerUpdate) -> dict[str, LayerUpdate]:
    """A mask with the stem in it, so that the block's input gradient is wanted."""
    stem = LayerUpdate(layer="0", weight="whole", bias=True)
    return {update.layer: update for update in (stem, *updates)}


def bias(layer: str) -> LayerUpdate:
    return LayerUpdate(layer=layer, bias=True)


MASKS: Mapping[str, dict[str, LayerUpdate]] = {
    "strips": mask_of(),
    "strips_biases": mask_of(bias(EXPAND), bias(DEPTHWISE)),
    "strips_weight": mask_of(LayerUpdate(layer=EXPAND, weight="whole")),
    "strips_weight_biases": mask_of(
        LayerUpdate(layer=EXPAND, weight="whole", bias=True),
        bias(DEPTHWISE),
        LayerUpdate(layer=PROJECT, weight="input", channels=(0, 3)),
    ),
    "strips_slice": mask_of(LayerUpdate(layer=EXPAND, weight="input", channels=(1, 3))),
    "strips_slice_biases": mask_of(
        LayerUpdate(layer=EXPAND, weight="input", channels=(2,), bias=True), bias(DEPTHWISE)
    ),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("micro_batch", [3, 1])
def test_strips_do_what_the_plain_step_does(name: str, micro_batch: int) -> None:
    module = randomise(network(Block(4, 3, 4, 3, 1, True)))
    graph = graph_without(module, (image(),))
    phase = "update" if micro_batch == 3 else "accumulate"
    wanted = name if name == "strips" else f"{name}_{phase}"
    plain, strips = (
        step(graph, module, micro_batch, MASKS[name], prefer) for prefer in ((), (wanted,))
    )
    assert largest_difference(plain, strips) < 1e-5
    way = next(way for way in strips_of(graph) if way.name == wanted)
    assert way.covers or name == "strips"
    assert set(way.covers) <= set(plain.executed)
    assert set(way.covers).isdisjoint(strips.executed)
    wide = {f"{PROJECT}.input_gradient", f"{DEPTHWISE}.input_gradient"}
    assert wide <= set(plain.executed)
    assert wide.isdisjoint(strips.executed)


def step(
    graph: OpGraph,
    module: nn.Module,
    micro_batch: int,
    mask: Mapping[str, LayerUpdate],
    prefer: tuple[str, ...],
) -> Outcome:
    given = {"input": image(), "labels": labels_for(3, 5)}
    values = dict(module.named_parameters())
    return run_step(
        graph, values, given, batch=3, micro_batch=micro_batch, mask=mask, prefer=prefer
    )


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.Identity])
def test_any_window_and_clamp(kernel: int, stride: int, activation: type[nn.Module]) -> None:
    without, graph = same_step(
        network(Block(4, 2, 6, kernel, stride, False), activation),
        (image(),),
        offer_channel_strips,
        labels=labels_for(3, 5),
        prefer=("strips_weight_biases_update",),
        tolerance=1e-5,
    )
    assert not strips_of(without)
    assert tuple(way.name for way in strips_of(graph)) == NAMES
    reads = {operand.tensor for operand in strips_of(graph)[0].reads}
    has_bits = activation is not nn.Identity
    assert any(graph.tensor[name].dtype == "bit" for name in reads) == has_bits


@pytest.mark.parametrize(
    ("block", "planes"),
    [
        (Block(4, 3, 4, 3, 1, True), 9 * 10 + 2 * 10),  # in place, with a ring of two rows
        (Block(4, 3, 4, 7, 1, False), 9 * 10 + 4 * 10),
        (Block(4, 3, 4, 3, 2, False), 9 * 10 + 5 * 5),
    ],
)
def test_bytes_and_costs_are_exact(block: Block, planes: int) -> None:
    graph = graph_without(network(block), (image(),))
    ways = {way.name: way for way in strips_of(graph)}
    height, width = (5, 5) if block.stride == 2 else (9, 10)
    for name, way in ways.items():
        row = 4 if "weight" in name or "slice" in name else 0
        assert (way.workspace_bytes.fixed, way.workspace_bytes.per_sample) == (
            4 * (planes + row), 0
        )  # fmt: skip
        macs = 12 * height * width * (4 + block.kernel**2) + 12 * 4 * 90
        assert (way.macs.fixed, way.macs.per_sample) == (0, macs)
        if name.startswith("strips_slice"):
            assert way.axes == ("input",)
        elif name.startswith("strips_weight"):
            assert way.axes == ("whole",)
        else:
            assert way.axes is None
        for operand in way.reads:
            tensor = graph.tensor[operand.tensor]
            wide = tensor.role in ("activation", "gradient") and tensor.shape[1].fixed == 12
            assert not wide or tensor.dtype == "bit"
    operation = graph.operation[f"{EXPAND}.input_gradient"]
    covering = ways["strips_weight_biases_update"]
    own = block_cost(graph, operation, ways["strips"], 2, {})[0]
    whole = MASKS["strips_weight_biases"]
    assert block_cost(graph, operation, covering, 2, whole)[0] == own + 2 * 12 * 4 * 90


def test_moved_bytes_count_every_pass() -> None:
    graph = graph_without(network(Block(4, 3, 6, 3, 2, False)), (image(),))
    moved = strips_of(graph)[0].moved_bytes
    weights = 4 * (6 * 12 + 12 * 9 + 12 * 4)
    bits = -(-12 * 25 // 8) + -(-12 * 90 // 8)
    # The gradient behind the average pool is one number per channel.
    gradients = 4 * (12 * 6 + 23 * 4 * 90)
    assert (moved.fixed, moved.per_sample) == (weights, bits + gradients + 8 * 12 * (25 + 90))


def test_parts_that_are_not_there_are_not_covered() -> None:
    block = InvertedResidual(Block(4, 3, 4, 3, 1, False))
    block.layers[0] = nn.Conv2d(4, 12, 1, bias=False)
    block.layers[2].weight.requires_grad_(False)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 1), block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    graph = graph_without(module, (image(),))
    ways = {way.name: way for way in strips_of(graph, "1.layers.0.input_gradient")}
    assert tuple(ways) == NAMES
    assert ways["strips_biases_update"].covers == ("1.layers.2.bias.update",)


def modules_left_alone() -> Mapping[str, nn.Module]:
    def around(*inside: nn.Module) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 1), *inside, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5)
        )

    def depthwise(**options: Any) -> nn.Module:
        return nn.Conv2d(8, 8, 3, padding=1, groups=8, **options)

    point, back = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1)
    return {
        "hardswish": around(point, nn.Hardswish(), depthwise(), nn.ReLU(), back),
        "no expansion": around(nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(), nn.Conv2d(4, 8, 1)),
        "a dense window": around(point, nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), back),
        "a strided projection": around(
            point, nn.ReLU(), depthwise(), nn.ReLU(), nn.Conv2d(8, 4, 1, stride=2)
        ),
        "groups": around(
            point, nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), back
        ),
        "several channels each": around(
            point, nn.ReLU(), nn.Conv2d(8, 16, 3, groups=8), nn.ReLU(), nn.Conv2d(16, 4, 1)
        ),
        "a norm by batch statistics": around(
            point, nn.GroupNorm(2, 8), depthwise(), nn.ReLU(), back
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", modules_left_alone())
def test_other_blocks_are_left_alone(name: str) -> None:
    module = modules_left_alone()[name]
    module(image())
    graph = graph_without(module, (image(),))
    assert not any(
        way.target == CHANNEL_STRIPS for op in graph.operations for way in op.alternatives
    )


def test_wide_gradients_that_others_add_to_are_no_blocks() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.back = nn.Conv2d(2, 4, 1), nn.Conv2d(8, 4, 1)
            self.point, self.window = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.head = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = self.point(self.stem(x)).relu()
            y = self.back(self.window(wide).relu() + wide)
            logits: torch.Tensor = self.head(y.mean((2, 3)))
            return logits

    graph = graph_without(Shared(), (image(),))
    assert not strips_of(graph, "point.input_gradient")


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_other_optimizers(optimizer: Any) -> None:
    settings = TraceSettings(optimizer=optimizer, learning_rate=0.1)
    _, graph = same_step(
        network(Block(4, 2, 6, 3, 1, False)),
        (image(),),
        offer_channel_strips,
        labels=labels_for(3, 5),
        prefer=("strips_weight_biases_update",),
        tolerance=1e-4,
        settings=settings,
    )
    way = next(w for w in strips_of(graph) if w.name == "strips_weight_biases_update")
    assert {one.target for one in updates_of(way)} == {f"memplan.{optimizer}"}


def test_int8_blocks_read_integers() -> None:
    module = network(Block(4, 3, 4, 3, 1, True)).eval()
    graph = trace(load_module(module, (image(),)), TraceSettings(quantize="int8"))
    ways = strips_of(graph)
    assert tuple(way.name for way in ways) == NAMES
    slices = next(way for way in ways if way.name == "strips_slice_biases_update")
    assert [graph.tensor[read.tensor].dtype for read in slices.reads].count("int8") == 4
    assert {one.target for one in updates_of(slices)} == {"memplan.sgd_int8"}
    assert slices.covers == tuple(
        f"{name}.update" for name in (f"{DEPTHWISE}.bias", f"{EXPAND}.bias", f"{EXPAND}.weight")
    )


def test_every_expanding_block_of_a_network_is_found() -> None:
    module, inputs = mobilenet_v2_035()
    graph = graph_without(module, inputs)
    found = {
        op.id for op in graph.operations for way in op.alternatives if way.target == CHANNEL_STRIPS
    }
    # The first block does not expand.
    assert found == {f"{index}.layers.0.input_gradient" for index in range(3, 19)}
    assert all(len(graph.operation[name].alternatives) <= 16 for name in found)
