"""Dropout between the layers of a recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memplan.tracing import TraceSettings, trace
from memplan.tracing.capture_forward import copy_forward, run_forward
from memplan.tracing.loaders import load_module
from memplan.tracing.passes.forward.recurrent_dropout import spell_out_recurrent_dropout

torch.set_num_threads(1)


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.RNNBase], dropout: float, **options: Any) -> None:
        super().__init__()
        self.core = kind(6, 7, num_layers=3, dropout=dropout, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, state = self.core(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {"batch_first": True}),
        (nn.LSTM, {"bidirectional": True, "proj_size": 3}),
        (nn.GRU, {"bias": False, "batch_first": True}),
        (nn.RNN, {"nonlinearity": "relu", "bidirectional": True}),
    ],
)
def test_layer_by_layer_is_the_same(
    kind: Callable[..., nn.RNNBase], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    module, x = Recurrent(kind, 0.4, **options), torch.randn(4, 5, 6)
    forward = copy_forward(load_module(module.train(), x))
    run_forward(forward)
    spell_out_recurrent_dropout(forward, TraceSettings())
    dropouts = [n for n in forward.graph.nodes if str(n.target) == "aten.dropout.default"]
    assert [(n.args[1], n.args[2]) for n in dropouts] == [(0.4, True)] * 2
    for node in dropouts:
        node.update_arg(2, False)
    values = dict(module.named_parameters())

    class Runner(torch.fx.Interpreter):
        def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
            return values[target]

    with torch.no_grad():
        found = Runner(nn.Module(), graph=forward.graph).run(x, enable_io_processing=False)
        expected = module.eval()(x)
    for mine, wanted in zip(found, expected, strict=True):
        assert torch.allclose(mine, wanted, atol=1e-6)


@pytest.mark.parametrize(("mode", "count"), [("infer", 0), ("train", 2)])
def test_it_is_active_in_training_only(mode: Any, count: int) -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.LSTM(6, 7, num_layers=3, dropout=0.4, batch_first=True)
            self.head = nn.Linear(7, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.core(x)[0][:, -1])
            return y

    model = load_module(Classifier().train(), torch.randn(4, 3, 6))
    graph = trace(model, TraceSettings(mode=mode))
    targets = [str(op.alternatives[0].target) for op in graph.operations]
    assert sum(name.endswith("memplan.dropout") for name in targets) == count
