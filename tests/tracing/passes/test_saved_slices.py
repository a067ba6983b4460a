import torch
from torch import nn

from memplan.ir.request import LayerUpdate
from memplan.ir.sizes import tensor_bytes
from memplan.tracing.passes.saved_slices import offer_saved_slices
from tests.support.graph_interpreter import run_step
from tests.support.models import randomise
from tests.support.passes import graph_without, labels_for, ways


def network() -> nn.Module:
    return randomise(
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1),
            nn.Flatten(), nn.Linear(24, 5),
        )
    )  # fmt: skip


def test_only_the_chosen_channels_are_saved() -> None:
    module, x = network(), torch.randn(4, 3, 6, 6)
    graph = graph_without(module, (x,))
    assert not ways(graph_without(module, (x,), offer_saved_slices), "saved_slice")
    mask = {
        "3": LayerUpdate(layer="3", weight="input", channels=(1, 4)),
        "2": LayerUpdate(layer="2", weight="input", channels=(0, 3, 7)),
        "5": LayerUpdate(layer="5", weight="input", channels=(2, 3, 5, 7, 11, 13)),
    }
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    given = {name: x, "labels": labels_for(4, 5)}
    values = dict(module.named_parameters())
    whole = run_step(graph, values, given, batch=4)
    part = run_step(graph, values, given, batch=4, mask=mask)
    for layer, update in mask.items():
        key = f"{layer}.weight"
        dim = 0 if layer == "2" else 1
        chosen = torch.tensor(update.channels)
        torch.testing.assert_close(
            part.parameters[key].index_select(dim, chosen),
            whole.parameters[key].index_select(dim, chosen),
            rtol=1e-5,
            atol=1e-6,
        )
        rest = torch.tensor([c for c in range(values[key].shape[dim]) if c not in update.channels])
        assert torch.equal(
            part.parameters[key].index_select(dim, rest), values[key].index_select(dim, rest)
        )
    gathered = [name for name in part.executed if name.endswith("saved_slice")]
    assert sorted(gathered) == ["2.saved_slice", "3.saved_slice", "5.saved_slice"]
    saved = graph.tensor["3.saved_slice"]
    assert tensor_bytes(saved, 4, mask) == 4 * 2 * 2 * 2 * 4
    assert tensor_bytes(graph.tensor["3.weight.gradient"], 4, mask) == 6 * 2 * 4


def test_costs_follow_the_mask() -> None:
    graph = graph_without(network(), (torch.randn(4, 3, 6, 6),))
    plain, sliced = graph.operation["3.weight.gradient"].alternatives
    assert plain.axes == ("whole", "output")
    assert sliced.axes == ("input",)
    assert plain.macs == sliced.macs
    assert [(cut.axis, cut.channels) for cut in plain.slices] == [("output", 6)]
    assert [(cut.axis, cut.channels) for cut in sliced.slices] == [("input", 8)]
    depthwise = graph.operation["2.weight.gradient"].alternatives[0]
    assert depthwise.axes == ("whole",)
