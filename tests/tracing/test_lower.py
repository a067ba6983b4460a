"""Views become geometry of operands; numbers become lines through batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from memplan.ir.errors import ModelError
from memplan.ir.units import Affine
from memplan.tracing import TraceSettings, trace
from memplan.tracing.draft import NotAffineError
from memplan.tracing.loaders import load_module
from memplan.tracing.lower_values import Lines
from tests.support.graph_interpreter import run_step

INFER = TraceSettings(mode="infer")


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transpose": lambda x: x.transpose(1, 2).exp(),
    "slice": lambda x: x[:, 1:4:2].exp(),
    "select": lambda x: x[:, 2].exp(),
    "select a sample": lambda x: x[0] * x,
    "split": lambda x: torch.split(x, [1, 3], 1)[1].exp() + x.chunk(2, 2)[1].sum(),
    "unbind": lambda x: x.unbind(1)[3].exp(),
    "expand": lambda x: x.sum(2, keepdim=True).expand(-1, -1, 5) * x[:, :, :5],
    "reshape": lambda x: x.reshape(-1, 6).exp().view(x.shape),
    "reshape of a transpose": lambda x: x.transpose(1, 2).reshape(x.shape[0], -1).exp(),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2).exp(),
    "unfold": lambda x: x.unfold(2, 3, 2).exp(),
    "movedim": lambda x: x.movedim(0, 2).exp().movedim(2, 0),
    "clone of part": lambda x: x[:, 1].clone()[:, 2:].exp(),
    "clone of a sample's part": lambda x: x.exp()[:, 1:2].clone().transpose(1, 2)[:, 3:] * 2,
    "dense clone at an offset": lambda x: x.sum(0).exp()[2].clone()[1:] * x[:, :, 1:],
    "real copy": lambda x: x.transpose(1, 2).contiguous().view(-1, 2).exp().view(x.shape[0], -1),
    "in place on part": lambda x: _set_column(x.exp()),
    "flip": lambda x: x.flip(1).exp(),
    "stack": lambda x: torch.stack([x, x * 2], 1)[:, 1].exp(),
}


def _set_column(x: Tensor) -> Tensor:
    x[:, 1] = 0.5
    x[:, 2].mul_(3)
    return x + 1


@pytest.mark.parametrize("kind", VIEWS)
def test_views_are_read_with_their_geometry(kind: str) -> None:
    module = Function(VIEWS[kind])
    model = load_module(module, (torch.randn(2, 4, 6),))
    graph = trace(model, INFER)
    assert graph.batch_symbolic
    x = torch.randn(4, 4, 6)
    inputs = {tensor.id: x for tensor in graph.tensors if tensor.role == "input"}
    outcome = run_step(graph, model.read_weights(), inputs, batch=4)
    torch.testing.assert_close(outcome.outputs[graph.outputs[0]].flatten(), module(x).flatten())
    views = ("view", "transpose", "slice.", "select.", "expand", "split", "detach", "alias")
    for operation in graph.operations:
        target = operation.alternatives[0].target
        assert not target.startswith(tuple(f"aten.{view}" for view in views)), target


def test_an_offset_counts_elements_of_the_storage() -> None:
    graph = trace(
        load_module(Function(lambda x: x[:, 1, 2:].exp()), (torch.randn(2, 4, 6),)), INFER
    )
    (operation,) = graph.operations
    (operand,) = operation.alternatives[0].reads
    assert operand.offset == Affine(8)
    assert operand.shape == (Affine(0, 1), Affine(4))
    assert operand.strides == (Affine(24), Affine(1))


def test_another_element_type_of_the_same_bytes_is_refused() -> None:
    with pytest.raises(ModelError, match="another element type"):
        trace(
            load_module(Function(lambda x: x.view(torch.int32) + 1.0), (torch.randn(2, 4),)), INFER
        )


def test_lines() -> None:
    lines = Lines((2, 3, 5))
    assert lines.line([7, 7, 7]) == Affine(7)
    assert lines.line([7, 10, 16]) == Affine(1, 3)
    with pytest.raises(NotAffineError):
        lines.line([4, 9, 25])
    with pytest.raises(NotAffineError):
        lines.scalar([0.5, 1 / 3, 0.2])
    with pytest.raises(NotAffineError):
        lines.shape([(2, 3), (3, 3, 1), (5, 3)])
    assert lines.scalar([2.0, 2.0, 2.0]) == 2.0
    assert lines.scalar([True, True, True]) is True
    assert Lines((4,)).line([9]) == Affine(9)
