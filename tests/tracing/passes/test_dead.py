import torch
from torch import Tensor, nn

from memplan.tracing.passes.dead import drop_dead_operations
from tests.support.passes import lowered


class Wasteful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), (x * 2).exp()


def test_only_what_is_needed_stays() -> None:
    draft, _ = lowered(Wasteful(), (torch.randn(2, 4),))
    before = [operation.target for operation in draft.operations]
    drop_dead_operations(draft)
    after = [operation.target for operation in draft.operations]
    assert "aten.addmm.default" in after
    assert "aten.exp.default" not in after
    assert len(after) <= len(before)
    read = {view.tensor for operation in draft.operations for view in operation.reads()}
    written = {name for operation in draft.operations for name in operation.writes}
    assert set(draft.tensors) == read | written | {v.tensor for v in draft.gradients.values()}
