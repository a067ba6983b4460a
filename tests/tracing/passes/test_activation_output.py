import pytest
import torch
from torch import nn

from memplan.tracing.passes.activation_output import activation_needs_output
from tests.support.passes import labels_for, same_step


@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.LeakyReLU(0.2)])
def test_backward_reads_the_output_bit_for_bit(activation: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(5, 40), activation, nn.Linear(40, 3))
    x = 6 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    without, graph = same_step(module, (x,), activation_needs_output, labels=labels_for(4, 3))
    (backward,) = (
        op for op in graph.operations if "tanh_backward" in op.id or "relu_backward" in op.id
    )
    (before,) = (op for op in without.operations if op.id == backward.id)
    forward = graph.producer[backward.alternatives[0].reads[1].tensor]
    assert forward.alternatives[0].target in ("aten.hardtanh.default", "aten.leaky_relu.default")
    assert without.producer[before.alternatives[0].reads[1].tensor].layer is not None


def test_a_negative_slope_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(-0.2), nn.Linear(8, 3))
    without, graph = same_step(
        module, (torch.randn(4, 5),), activation_needs_output, labels=labels_for(4, 3)
    )
    assert without == graph
