"""The joint graph: which loss, which output, which numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.tracing import TraceSettings
from memplan.tracing.capture import capture, choose_outputs, loss_value
from memplan.tracing.capture_forward import copy_forward, run_forward
from memplan.tracing.loaders import load_module
from memplan.tracing.trace import prepare

CROSS_ENTROPY, MSE = TraceSettings(), TraceSettings(loss="mse")


def test_losses_are_means_over_all_targets() -> None:
    flat, labels = torch.randn(4, 5), torch.tensor([0, 4, 2, 1])
    assert loss_value(CROSS_ENTROPY, flat, labels) == F.cross_entropy(flat, labels)
    tokens = torch.randn(2, 3, 5)
    wanted = torch.tensor([[0, 1, 2], [4, 3, 0]])
    by_hand = -tokens.log_softmax(-1).gather(2, wanted[..., None]).mean()
    torch.testing.assert_close(loss_value(CROSS_ENTROPY, tokens, wanted), by_hand)
    image, pixels = torch.randn(2, 5, 3, 3), torch.randint(0, 5, (2, 3, 3))
    by_hand = -image.log_softmax(1).gather(1, pixels[:, None]).mean()
    torch.testing.assert_close(loss_value(CROSS_ENTROPY, image, pixels), by_hand)
    x, y = torch.randn(2, 6), torch.randn(2, 2, 3)
    torch.testing.assert_close(loss_value(MSE, x, y), ((x - y.flatten(1)) ** 2).mean())


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x > 0), self.a(x)


def test_integers_are_no_output_to_train() -> None:
    forward = copy_forward(load_module(Two(), (torch.randn(2, 4),)))
    assert choose_outputs(forward, run_forward(forward)) == [1]


@pytest.mark.parametrize("batch", [2, 3])
def test_backward_nodes_are_told_from_forward_nodes(batch: int) -> None:
    model = load_module(nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), (torch.randn(2, 4),))
    forward, loss, outputs = prepare(model, CROSS_ENTROPY)
    captured = capture(forward, CROSS_ENTROPY, loss, outputs, batch)
    phases = {
        str(node.target): node.meta["memplan"][1]
        for node in captured.graph.nodes
        if node.op == "call_function"
    }
    assert phases["aten.relu.default"] is False
    assert phases["aten.nll_loss_forward.default"] is False
    assert phases["aten.threshold_backward.default"] is True
    assert captured.wanted == ["0.weight", "0.bias"]
    assert [node is not None for node in captured.gradients] == [True, True]


def test_in_place_code_that_aliases_is_functionalized() -> None:
    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.a(x)
            half = y[:, :2]
            half.relu_()
            return y * 2

    model = load_module(Aliased(), (torch.randn(2, 4),))
    forward, loss, outputs = prepare(model, CROSS_ENTROPY)
    captured = capture(forward, CROSS_ENTROPY, loss, outputs, 2)
    for node in captured.graph.nodes:
        if node.op == "call_function" and hasattr(node.target, "_schema"):
            assert not node.target._schema.is_mutable
            assert "memplan" in node.meta
