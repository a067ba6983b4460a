"""From a loaded model to a graph: what tracing reports, refuses and falls back to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.errors import ModelError, RequestError
from memplan.ir.graph import OpGraph
from memplan.tracing import TraceSettings, trace
from memplan.tracing.loaders import load_module
from tests.support.graph_interpreter import initial_weights, run_step
from tests.support.models import COUPLED, MODELS, build


class Applied(nn.Module):
    """A linear layer, a function, a linear layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.function(self.a(x)))
        return y


def traced(module: nn.Module, x: Tensor | None = None, **options: Any) -> OpGraph:
    x = torch.randn(4, 6) if x is None else x
    return trace(load_module(module, (x,)), TraceSettings(**options))


def test_stages_are_reported_in_order() -> None:
    stages: list[str] = []
    model = load_module(Applied(torch.relu), (torch.randn(2, 6),))
    trace(model, TraceSettings(), stages.append)
    assert stages[0] == "forward graph"
    assert stages[-1] == "graph"
    assert [s for s in stages if s.startswith("capture")] == [
        f"capture at batch {n}" for n in (2, 3, 5)
    ]


def test_the_same_model_gives_the_same_graph() -> None:
    first, second = (traced(Applied(F.gelu)) for _ in range(2))
    assert first.content_hash() == second.content_hash()


def test_facts_of_the_step() -> None:
    graph = traced(Applied(torch.relu), batch=7, loss="mse", optimizer="adam", learning_rate=0.1)
    assert graph.traced_batch == 7
    assert graph.batch_symbolic
    assert graph.loss is not None
    assert graph.optimizer is not None
    assert (graph.loss.kind, graph.optimizer.kind) == ("mse", "adam")
    assert graph.tensor["labels"].dtype == "float32"
    assert [s.at(7) for s in graph.tensor["labels"].shape] == [7, 4]
    (loss,) = graph.outputs
    assert graph.tensor[loss].size_bytes.at(7) == 4
    assert traced(Applied(torch.relu)).traced_batch == 4


def test_states_start_at_zero_and_are_cut_like_the_weight() -> None:
    graph = traced(Applied(torch.relu), optimizer="adam")
    states = [tensor for tensor in graph.tensors if tensor.role == "state"]
    assert len(states) == 3 * 4
    for tensor in states:
        assert tensor.source is not None
        assert tensor.source.kind == "zeros"
        if tensor.id.endswith("weight.first"):
            assert tensor.slices == graph.tensor[tensor.id.removesuffix(".first")].slices
    assert graph.tensor["a.weight.step"].dtype == "int64"


def test_sizes_grow_with_the_batch() -> None:
    graph = traced(Applied(torch.relu))
    hidden = graph.tensor["a"]
    assert (hidden.size_bytes.fixed, hidden.size_bytes.per_sample) == (0, 24)
    assert graph.tensor["a.weight"].size_bytes.per_sample == 0


class TestCoupling:
    def test_subtracting_the_mean_of_the_batch(self) -> None:
        module, inputs = build(COUPLED)
        graph = trace(load_module(module, tuple(inputs.values())))
        assert graph.batch_coupled_by
        assert graph.batch_symbolic
        assert not [op for op in graph.operations if op.phase in ("clear", "apply")]

    def test_dividing_by_the_batch(self) -> None:
        assert traced(Applied(lambda x: x / x.shape[0])).batch_coupled_by

    def test_batch_statistics(self) -> None:
        module = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 4)).eval()
        assert "batch norm" in traced(module, batch_norm="train").batch_coupled_by
        assert traced(module).batch_coupled_by == ""

    def test_layers_that_work_sample_by_sample(self) -> None:
        for function in (torch.relu, nn.LayerNorm(6), lambda x: x.softmax(1)):
            assert traced(Applied(function)).batch_coupled_by == ""

    def test_a_test_that_shows_nothing_counts_as_coupled(self) -> None:
        graph = traced(Applied(lambda x: x * 0))
        assert "could not show" in graph.batch_coupled_by


def test_sizes_that_are_not_affine_hold_at_one_batch() -> None:
    module = Applied(lambda x: (x @ x.t()).tanh() @ x)  # (batch, batch) in between
    graph = traced(module, torch.randn(3, 6))
    assert not graph.batch_symbolic
    assert graph.traced_batch == 3
    assert not [op for op in graph.operations if op.phase in ("clear", "apply")]
    with pytest.raises(ModelError, match="at its own batch of 3 only"):
        traced(module, torch.randn(3, 6), batch=8)


def test_an_unknown_operation_is_a_conservative_node() -> None:
    graph = traced(Applied(lambda x: x.cumsum(1).sort(1).values))
    cumsum = graph.operation["a.cumsum"]
    way = cumsum.alternatives[0]
    assert way.in_place == ()
    assert way.macs.at(4) == 0
    assert way.moved_bytes.at(4) == 2 * 4 * 6 * 4
    assert cumsum.recomputable


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + torch.rand_like(x), "draws random numbers"),
        (lambda x: torch.fft.fft(x).real, "complex"),
        (lambda x: x[x > 0].sum() * x, "."),
        (lambda x: F.alpha_dropout(x, 0.5, training=True), "alpha dropout"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(function: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        traced(Applied(function))
    assert "\n" not in str(caught.value)


class Counting(nn.Module):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 4)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add_(x.mean())
        y: Tensor = self.a(x)
        return y


def test_a_buffer_that_the_forward_pass_writes_is_refused() -> None:
    with pytest.raises(ModelError, match="in place"):
        traced(Counting())


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Flatten(0), {}, "does not begin with the batch .* predictions for each sample"),
        (nn.Unflatten(1, (1, 1, 1, 6)), {}, "use --loss mse"),
        (nn.Linear(6, 4), {"loss": "mse", "target": "input"}, "use --target labels"),
    ],
)
def test_outputs_that_no_loss_fits(module: nn.Module, options: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        traced(nn.Sequential(nn.Linear(6, 6), module), **options)


def test_a_model_without_parameters_trains_nothing_but_has_a_graph() -> None:
    graph = traced(nn.ReLU(), mode="infer")
    assert graph.layers == ()
    assert graph.loss is None
    with pytest.raises(ModelError, match="nothing to train"):
        traced(nn.ReLU())


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.a(x)
        return {"ids": y.argmax(1), "scores": y, "squares": y * y}


def test_the_first_floating_output_is_trained_and_all_are_inferred() -> None:
    graph = traced(Several())
    assert next(op.id for op in graph.operations if op.phase == "forward") == "a"
    assert "aten.mul.Tensor" not in [op.alternatives[0].target for op in graph.operations]
    inferred = traced(Several(), mode="infer")
    assert len(inferred.outputs) == 2


class Views(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.relu(x)
        return y[:, :2], y, x


def test_outputs_are_tensors_of_their_own() -> None:
    x = torch.randn(3, 6)
    graph = traced(Views(), x, mode="infer")
    name = next(tensor.id for tensor in graph.tensors if tensor.role == "input")
    outputs = run_step(graph, {}, {name: x}, batch=3).outputs
    expected = Views()(x)
    assert len(graph.outputs) == 3
    for key, value in zip(graph.outputs, expected, strict=True):
        assert torch.equal(outputs[key], value)


def test_folded_weights_say_where_they_come_from() -> None:
    module, inputs = build(MODELS["bn_cnn"], double=False)
    graph = trace(load_module(module, tuple(inputs.values())))
    source = graph.tensor["0.weight"].source
    assert source is not None
    assert source.kind == "folded_weight"
    assert source.names == ("0.weight", "1.weight", "1.running_var")
    bias = graph.tensor["0.bias"].source
    assert bias is not None
    assert bias.names == ("", "1.bias", "1.weight", "1.running_mean", "1.running_var")
    values = module.state_dict()
    weights = initial_weights(graph, values)
    x = next(iter(inputs.values()))
    assert isinstance(module, nn.Sequential)
    expected = module[1](module[0](x))
    found = F.conv2d(x, weights["0.weight"], weights["0.bias"], padding=1)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "transposed"])
def test_norms_behind_other_layers_fold_too(kind: str) -> None:
    if kind == "linear":
        module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    else:
        module = nn.Sequential(
            nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 8, 3), nn.BatchNorm2d(8), nn.Flatten()
        )
    graph = traced(module.eval())
    assert not [layer for layer in graph.layers if layer.kind == "normalization"]
    assert any(t.source and t.source.kind == "folded_weight" for t in graph.tensors)


def test_a_norm_is_not_folded_into_a_shared_or_read_layer() -> None:
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 8)
            self.norm = nn.BatchNorm1d(8)
            self.b = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            z: Tensor = self.b(self.norm(y) + y)
            return z

    graph = traced(Read().eval())
    assert graph.layer["norm"].kind == "normalization"
    source = graph.tensor["a.weight"].source
    assert source is not None
    assert source.kind == "copy"


def test_settings_are_checked() -> None:
    with pytest.raises(RequestError, match="batch 0"):
        TraceSettings(batch=0)
    with pytest.raises(RequestError, match="learning rate"):
        TraceSettings(learning_rate=0)
    assert not TraceSettings(mode="infer").trains
    assert TraceSettings(mode="infer").loss_contract() is None


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_an_lstm_is_its_steps_and_no_opaque_kernel(mode: str) -> None:
    before = torch._C._get_mkldnn_enabled()
    length, width, hidden = 3, 6, 4
    graph = traced(
        nn.LSTM(width, hidden, batch_first=True),
        torch.randn(2, length, width),
        mode=mode,
        loss="mse",
    )
    forward = [o.alternatives[0] for o in graph.operations if o.phase == "forward"]
    assert not any("rnn" in a.target for a in forward)
    macs = sum(a.macs.per_sample for a in forward)
    assert macs == length * 4 * hidden * (width + hidden)
    assert torch._C._get_mkldnn_enabled() is before


@pytest.mark.parametrize("name", ["mode", "loss", "target", "optimizer", "batch_norm"])
def test_a_word_that_is_not_allowed_is_refused(name: str) -> None:
    words: dict[str, Any] = {name: "lion"}
    with pytest.raises(RequestError, match=f"{name} 'lion': use one of"):
        TraceSettings(**words)
