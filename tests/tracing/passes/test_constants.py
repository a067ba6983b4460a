import torch
from torch import Tensor, nn

from memplan.tracing.passes.constants import mark_constants
from tests.support.passes import labels_for, same_step


class Masked(nn.Module):
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("table", torch.rand(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.arange(6)[None, :] <= torch.arange(6)[:, None]
        weights = torch.where(mask, self.table.exp(), torch.zeros(()))
        y: Tensor = self.a(x * (self.scale + 1)) @ weights
        return y


def test_what_depends_on_no_sample_and_no_weight_is_computed_once() -> None:
    _, graph = same_step(Masked(), (torch.randn(4, 6),), mark_constants, labels=labels_for(4, 6))
    constant = {op.alternatives[0].target for op in graph.operations if op.phase == "constant"}
    assert {"aten.arange.default", "aten.exp.default", "aten.where.self"} <= constant
    forward = {op.alternatives[0].target for op in graph.operations if op.phase == "forward"}
    assert "aten.add.Tensor" in forward, "what reads a trained parameter is no constant"
    assert not any(op.recomputable for op in graph.operations if op.phase == "constant")
    assert graph.tensor["table"].role == "constant"
