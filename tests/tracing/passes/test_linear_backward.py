import torch
from torch import Tensor, nn

from memplan.tracing.passes.linear_backward import linear_weight_gradient
from tests.support.passes import labels_for, same_step, targets


def test_a_linear_weight() -> None:
    module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False))
    without, graph = same_step(
        module, (torch.randn(4, 5),), linear_weight_gradient, labels=labels_for(4, 3)
    )
    assert targets(graph).count("memplan.linear_weight_gradient") == 2
    assert "memplan.linear_weight_gradient" not in targets(without)
    assert [axis.channels for axis in graph.layers[0].axes] == [5, 7]


class Transposed(nn.Module):
    """Stores its weight as (in, out), as GPT-2's Conv1D does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 7))
        self.bias = nn.Parameter(torch.zeros(7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


def test_a_weight_stored_the_other_way_round() -> None:
    _, graph = same_step(
        Transposed(), (torch.randn(4, 5),), linear_weight_gradient, labels=labels_for(4, 7)
    )
    assert "memplan.linear_weight_gradient" in targets(graph)
    assert [size.at(1) for size in graph.tensor["weight.gradient"].shape] == [5, 7]
    assert graph.layers[0].axes == ()


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(torch.tanh(self.a(x)))
        return y


def test_a_sum_of_gradients_is_left_alone() -> None:
    without, graph = same_step(
        Shared(), (torch.randn(4, 5),), linear_weight_gradient, labels=labels_for(4, 5)
    )
    assert graph == without
    assert graph.layers[0].axes == ()
