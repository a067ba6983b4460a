"""Which layers a graph has, and along which axes their weights may be cut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memplan.ir.graph import Layer, OpGraph
from tests.support.models import Causal, Encoder, Frozen
from tests.support.passes import graph_without


def axes(layer: Layer) -> dict[str, int]:
    return {axis.name: axis.channels for axis in layer.axes}


def test_kinds_axes_and_counts() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1, groups=2),
        nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 6, 2), nn.Flatten(), nn.Linear(54, 4),
    ).eval()  # fmt: skip
    graph = graph_without(module, (torch.randn(2, 3, 6, 6),))
    assert [(layer.id, layer.kind) for layer in graph.layers] == [
        ("0", "convolution"),
        ("1", "convolution"),
        ("2", "convolution"),
        ("3", "normalization"),
        ("4", "convolution"),
        ("6", "linear"),
    ]
    assert axes(graph.layer["0"]) == {"input": 3, "output": 8}
    assert axes(graph.layer["1"]) == {"input": 8}
    assert graph.tensor["1.weight"].slices[0].dim == 0
    assert axes(graph.layer["2"]) == axes(graph.layer["3"]) == axes(graph.layer["4"]) == {}
    assert axes(graph.layer["6"]) == {"input": 54, "output": 4}
    assert graph.layer["0"].parameter_count == 8 * 27 + 8
    assert graph.layer["0"].bias_parameters == 8
    assert graph.layer["0"].weight == "0.weight"


def test_everything_of_a_weights_size_is_cut_with_it() -> None:
    graph = graph_without(nn.Sequential(nn.Linear(4, 6)), (torch.randn(2, 4),))
    cut = graph.tensor["0.weight"].slices
    assert [(c.axis, c.channels, c.dim) for c in cut] == [("input", 4, 1), ("output", 6, 0)]
    for name in ("0.weight.gradient", "0.weight.accumulator"):
        assert graph.tensor[name].slices == cut
        assert graph.tensor[name].layer == "0"
    assert graph.tensor["0.bias"].slices == ()


def test_lone_parameters_and_projections() -> None:
    graph = graph_without(Encoder(), (torch.zeros(2, 6, dtype=torch.int64),))
    kinds = {layer.id: layer.kind for layer in graph.layers}
    assert kinds["token"] == kinds["positions"] == "parameter"
    assert kinds["embedding"] == "embedding"
    assert axes(graph.layer["embedding"]) == {"output": 16}
    projection = graph.layer["encoder.layers.0.self_attn"]
    assert projection.weight == "encoder.layers.0.self_attn.in_proj_weight"
    assert projection.bias == "encoder.layers.0.self_attn.in_proj_bias"


def test_tied_weights_belong_to_the_first_layer_and_are_not_cut() -> None:
    graph = graph_without(Causal(), (torch.zeros(2, 6, dtype=torch.int64),))
    assert "head" not in graph.layer
    assert graph.layer["embedding"].axes == ()
    names = [name for layer in graph.layers for name in (layer.weight, layer.bias) if name]
    assert len(names) == len(set(names))


def test_frozen_parameters_are_no_layers() -> None:
    graph = graph_without(Frozen().eval(), (torch.randn(2, 3, 8, 8),))
    assert [(layer.id, layer.weight, layer.bias) for layer in graph.layers] == [
        ("tail", None, "tail.bias"),
        ("head", "head.weight", "head.bias"),
    ]
    assert graph.tensor["body.0.weight"].role == "parameter"
    reaching = [op for op in graph.operations if op.phase == "backward" and "body" in op.id]
    assert not reaching, "no gradient reaches the frozen part"


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(self.a(x))
        return y


def test_forward_macs_of_a_layer_used_twice() -> None:
    graph = graph_without(Twice(), (torch.randn(2, 4),))
    assert graph.layer["a"].forward_macs.at(3) == 2 * 3 * 4 * 4


def serving(graph: OpGraph, parameter: str) -> list[str]:
    return [op.phase for op in graph.operations if op.parameter == parameter]


def test_each_parameter_has_its_four_operations_in_order() -> None:
    graph = graph_without(Twice(), (torch.randn(2, 4),))
    assert serving(graph, "a.weight") == ["clear", "update", "accumulate", "apply"]
    ids = [operation.id for operation in graph.operations]
    last_reader = max(
        position
        for position, operation in enumerate(graph.operations)
        if operation.phase in ("forward", "backward")
        and any(r.tensor == "a.weight" for way in operation.alternatives for r in way.reads)
    )
    assert ids.index("a.weight.update") > last_reader
    assert ids.index("a.weight.update") > ids.index("a.weight.gradient")
