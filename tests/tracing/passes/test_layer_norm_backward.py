import torch
from torch import nn

from memplan.ir.request import LayerUpdate
from tests.support.models import randomise
from tests.support.passes import assert_equals_autograd, graph_without, targets


def test_the_three_gradients_by_themselves() -> None:
    module = randomise(nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)))
    x = torch.randn(2, 4, 5)
    labels = torch.tensor([[0, 1, 2, 0], [1, 1, 0, 2]])
    graph = graph_without(module, (x,))
    assert "aten.native_layer_norm_backward.default" not in targets(graph)
    loss = torch.nn.functional.cross_entropy(module(x).flatten(0, 1), labels.flatten())
    assert_equals_autograd(graph, module, x, labels, loss, rtol=1e-5)


def test_a_bias_needs_neither_input_nor_statistics() -> None:
    module = randomise(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3)))
    graph = graph_without(module, (torch.randn(2, 8),))
    operation = graph.operation["0.bias.gradient"]
    assert len(operation.alternatives[0].reads) == 1
    mask = {"0": LayerUpdate(layer="0", bias=True)}
    assert mask["0"].layer == operation.layer
