import torch
from torch import Tensor, nn

from memplan.tracing.passes.broadcasts import sink_broadcasts
from tests.support.passes import labels_for, same_step


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return y


def test_the_gradient_of_a_mean_is_scaled_before_it_is_broadcast() -> None:
    x = torch.randn(4, 3, 8, 8)
    without, graph = same_step(Pooled(), (x,), sink_broadcasts, labels=labels_for(4, 4))
    (scaled,) = (op for op in graph.operations if op.id.endswith("div"))
    (wide,) = (op for op in without.operations if op.id.endswith("div"))
    assert graph.tensor[scaled.writes[0]].size_bytes.at(4) == 4 * 6 * 4
    assert without.tensor[wide.writes[0]].size_bytes.at(4) == 4 * 6 * 36 * 4
