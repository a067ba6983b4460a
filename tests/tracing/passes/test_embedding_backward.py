import torch
from torch import nn

from memplan.ir.request import LayerUpdate
from memplan.tracing.passes.embedding_backward import embedding_weight_gradient
from tests.support.passes import same_step, targets


def test_the_table_gradient_is_the_same() -> None:
    module = nn.Sequential(nn.Embedding(7, 6, padding_idx=0), nn.Linear(6, 3))
    x = torch.tensor([[0, 1, 1], [6, 0, 2]])
    labels = torch.tensor([[0, 1, 2], [2, 1, 0]])
    without, graph = same_step(module, (x,), embedding_weight_gradient, labels=labels)
    assert "aten.embedding_dense_backward.default" in targets(without)
    assert "memplan.embedding_weight_gradient" in targets(graph)
    (axis,) = graph.layers[0].axes
    assert (axis.name, axis.channels) == ("output", 6)
    update = LayerUpdate(layer="0", weight="output", channels=(1, 4))
    assert graph.tensor["0.weight"].slices[0].dim == 1
    assert update.layer == graph.layers[0].id
