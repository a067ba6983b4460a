import torch
from torch import nn

from tests.support.models import randomise
from tests.support.passes import assert_equals_autograd, graph_without


def test_a_group_norm_without_weight() -> None:
    module = randomise(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4, affine=False), nn.Flatten())
    )
    x, labels = torch.randn(3, 3, 5, 5), torch.tensor([0, 5, 9])
    graph = graph_without(module, (x,))
    (backward,) = (op for op in graph.operations if "group_norm_backward" in op.id)
    assert len(backward.writes) == 3
    loss = torch.nn.functional.cross_entropy(module(x), labels)
    assert_equals_autograd(graph, module, x, labels, loss, atol=1e-5)
