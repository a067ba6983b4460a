import torch
from torch import nn

from tests.support.graph_interpreter import initial_weights, run_step
from tests.support.models import randomise
from tests.support.passes import graph_without


def test_a_group_norm_without_weight() -> None:
    module = randomise(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4, affine=False), nn.Flatten())
    )
    x, labels = torch.randn(3, 3, 5, 5), torch.tensor([0, 5, 9])
    graph = graph_without(module, (x,))
    (backward,) = (op for op in graph.operations if "group_norm_backward" in op.id)
    assert len(backward.writes) == 3
    torch.nn.functional.cross_entropy(module(x), labels).backward()
    values = dict(module.named_parameters())
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    step = run_step(graph, values, {name: x, "labels": labels}, batch=3)
    before = initial_weights(graph, values)
    for key, after in step.parameters.items():
        torch.testing.assert_close(before[key] - after, values[key].grad, rtol=1e-4, atol=1e-5)
