import pytest
import torch
from torch import nn

from memplan.ir.graph import OptimizerKind
from memplan.ir.request import LayerUpdate
from memplan.tracing import TraceSettings
from memplan.tracing.passes.fused_updates import CHUNKS, offer_fused_updates
from tests.support.passes import graph_without, labels_for, same_step, ways


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Conv2d(20, 20, 3, groups=20), nn.Flatten(),
        nn.Linear(80, 40), nn.Linear(40, 5),
    )  # fmt: skip


def test_a_fused_update_equals_the_plain_one() -> None:
    x = torch.randn(3, 3, 6, 6)
    without, graph = same_step(
        network(), (x,), offer_fused_updates, labels=labels_for(3, 5), prefer=("fused",)
    )
    assert not ways(without, "fused")
    fused = [op.id for op, _ in ways(graph, "fused") if op.phase == "update"]
    # Five rows are too few for chunks of several rows, but not for chunks of one.
    assert fused == [f"{name}.weight.update" for name in ("5", "4", "2", "0")]


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_the_workspace_is_one_chunk_of_rows(optimizer: OptimizerKind) -> None:
    graph = graph_without(
        network(),
        (torch.randn(3, 3, 6, 6),),
        settings=TraceSettings(optimizer=optimizer),
    )
    update = next(way for op, way in ways(graph, "fused") if op.id == "4.weight.update")
    assert update.workspace_bytes.at(1) == -(-40 // CHUNKS) * 80 * 4
    gradient = graph.operation["4.weight.gradient"].alternatives[0]
    assert update.macs == gradient.macs
    assert graph.tensor["4.weight.gradient"].id not in [read.tensor for read in update.reads]
    assert update.axes == ("whole",)


def test_an_input_slice_has_its_own_fused_update() -> None:
    graph = graph_without(network(), (torch.randn(3, 3, 6, 6),))
    names = {op.id for op, _ in ways(graph, "fused_saved_slice") if op.phase == "accumulate"}
    # Channels of a depthwise weight are its rows, so a slice of them has no chunks.
    assert names == {f"{layer}.weight.accumulate" for layer in "045"}
    update = next(way for op, way in ways(graph, "fused_saved_slice"))
    assert update.axes == ("input",)
    assert LayerUpdate(layer="5", weight="input", channels=(0,)).weight in update.axes
