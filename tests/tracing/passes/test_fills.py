import torch
from torch import Tensor, nn

from memplan.tracing.passes.fills import fills_to_scalars
from tests.support.passes import labels_for, same_step


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = torch.cat([y, torch.ones_like(y)], 1)
        z: Tensor = self.b(torch.where(y > 0.5, y, torch.zeros_like(y)))
        return z


def test_filled_tensors_become_one_number() -> None:
    without, graph = same_step(
        Padded(), (torch.randn(4, 6),), fills_to_scalars, labels=labels_for(4, 4)
    )
    filled = [op for op in graph.operations if op.alternatives[0].target == "aten.full.default"]
    assert filled
    assert all(graph.tensor[op.writes[0]].shape == () for op in filled)
    like = {op.alternatives[0].target for op in without.operations}
    assert {"aten.ones_like.default", "aten.zeros_like.default"} <= like


def test_a_weight_is_not_broadcast() -> None:
    """Group norm's backward takes its weight's data as contiguous."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4, affine=False), nn.Flatten())
    _, graph = same_step(
        module, (torch.randn(2, 3, 4, 4),), fills_to_scalars, labels=labels_for(2, 4)
    )
    (backward,) = (op for op in graph.operations if "group_norm_backward" in op.id)
    for operand in backward.alternatives[0].reads:
        assert operand.strides is None or all(s.at(2) for s in operand.strides)
