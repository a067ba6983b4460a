import torch
from torch import Tensor, nn

from memplan.tracing.passes.identities import drop_identities
from tests.support.passes import labels_for, same_step, targets


class Indexing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)
        self.b = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).clone()
        y[:, :2] = y[:, 2:4] * 2
        z: Tensor = self.b(y[:][:, :])
        return z


def test_copies_that_change_nothing_vanish() -> None:
    without, graph = same_step(
        Indexing(), (torch.randn(4, 6),), drop_identities, labels=labels_for(4, 4)
    )
    assert len(graph.operations) < len(without.operations)
    for target in ("aten.slice_scatter.default", "aten.slice_backward.default"):
        assert targets(graph).count(target) < targets(without).count(target)
