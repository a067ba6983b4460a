"""Fisher importance against hooks on plain modules, one sample at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from memplan.ir.errors import DataError
from memplan.ir.graph import Layer, OpGraph
from memplan.tracing import TraceSettings, trace
from memplan.tracing.importance import fisher, weight_norms
from memplan.tracing.loaders import load_module
from memplan.tracing.samples import Samples
from memplan.tracing.weights import build_weights
from tests.support.models import randomise

torch.set_num_threads(1)
#: An embedding's hook fires without a gradient of its input, which it has not.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
SAMPLES = 5
TOLERANCE: dict[str, Any] = {"rel": 1e-5, "abs": 1e-12}


class Separable(nn.Module):
    """Convolution, depthwise convolution and a residual, all with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.depthwise_norm = nn.BatchNorm2d(8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu6(self.depthwise_norm(self.depthwise(x)))
        x = F.relu(x + self.pointwise(x), inplace=True)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits

    def folded(self) -> nn.Module:
        twin = Separable().eval()
        twin.load_state_dict(self.state_dict())
        twin.stem = fuse_conv_bn_eval(twin.stem, twin.stem_norm)
        twin.depthwise = fuse_conv_bn_eval(twin.depthwise, twin.depthwise_norm)
        twin.stem_norm = twin.depthwise_norm = nn.Identity()  # type: ignore[assignment]
        return twin


class Sequence(nn.Module):
    """Embedding, norm and linear layers over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.inner = nn.Linear(6, 10)
        self.outer = nn.Linear(10, 6, bias=False)
        self.head = nn.Linear(6, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids)
        x = x + self.outer(F.gelu(self.inner(self.norm(x))))
        logits: Tensor = self.head(x[:, 0])
        return logits

    def folded(self) -> nn.Module:
        return self


def upsampler() -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(2, 4, 2, 2), nn.Tanh(), nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def expected(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, dict[str, Tensor]]:
    """Compute every potential from activations and gradients, as the formula says."""
    layers: dict[str, Any] = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding, nn.LayerNorm))
    }
    sums: dict[str, dict[str, Tensor]] = {name: {} for name in layers}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    moved: dict[str, tuple[Tensor, ...]] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
        layer.register_full_backward_hook(
            lambda _, grad_inputs, grad_outputs, name=name: moved.update(
                {name: (grad_inputs[0], grad_outputs[0])}
            )
        )
    for sample in range(x.shape[0]):
        value = x[sample : sample + 1].clone()
        if value.is_floating_point():
            value.requires_grad_(True)
        F.cross_entropy(module(value), y[sample : sample + 1]).backward()  # type: ignore[no-untyped-call]
        for name, layer in layers.items():
            channel = 1 if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) else -1

            def per_channel(values: Tensor, channel: int = channel) -> Tensor:
                return values.movedim(channel, 0).flatten(1).double().sum(1)

            (inputs, outputs), (gx, gy) = seen[name], moved[name]
            parts = {"output": per_channel(outputs.detach() * gy).square()}
            if gx is not None:
                parts["input"] = per_channel(inputs.detach() * gx).square()
            if getattr(layer, "bias", None) is not None:
                parts["bias"] = (layer.bias.detach() * per_channel(gy)).square()
            for kind, square in parts.items():
                total = sums[name].get(kind, torch.zeros_like(square))
                sums[name][kind] = total + square / (2 * x.shape[0])
    return sums


def traced(module: nn.Module, x: Tensor, y: Tensor) -> OpGraph:
    loaded = load_module(module, x)
    return fisher(loaded, trace(loaded, TraceSettings()), Samples({"x": x}, y))


def assert_equal(layer: Layer, wanted: dict[str, Tensor]) -> None:
    assert layer.fisher == pytest.approx(wanted["output"].sum().item(), **TOLERANCE)
    if layer.bias is not None:
        assert layer.bias_fisher == pytest.approx(wanted["bias"].sum().item(), **TOLERANCE)
    for axis in layer.axes:
        # An element that is 0 by cancellation is exact only relative to its neighbours.
        near: dict[str, Any] = {"rel": 1e-5, "abs": 1e-7 * wanted[axis.name].max().item()}
        assert list(axis.potentials) == pytest.approx(wanted[axis.name].tolist(), **near)


@pytest.mark.parametrize(
    ("build", "draw"),
    [
        (Separable, lambda: torch.randn(SAMPLES, 3, 9, 9)),
        (Sequence, lambda: torch.randint(0, 11, (SAMPLES, 7))),
        (upsampler, lambda: torch.randn(SAMPLES, 2, 3, 3)),
    ],
    ids=["separable", "sequence", "upsampler"],
)
def test_every_potential_is_that_of_plain_autograd(
    build: Callable[[], nn.Module], draw: Callable[[], Tensor]
) -> None:
    torch.manual_seed(3)
    module = randomise(build()).eval()
    x, y = draw(), torch.randint(0, 4, (SAMPLES,))
    graph = traced(module, x, y)
    plain = module.folded() if isinstance(module, (Separable, Sequence)) else module
    wanted = expected(plain, x, y)
    assert {layer.id for layer in graph.layers} == set(wanted)
    assert graph.importance_samples == SAMPLES
    for layer in graph.layers:
        assert layer.fisher is not None
        assert layer.fisher > 0
        assert_equal(layer, wanted[layer.id])
    if isinstance(module, Separable):
        assert {axis.name for axis in graph.layer["stem"].axes} == {"input", "output"}
        assert [axis.channels for axis in graph.layer["depthwise"].axes] == [8]


class InputFirst(nn.Module):
    """A linear layer whose weight has its input channels first, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 6))
        self.bias = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


def test_a_weight_with_its_input_channels_first() -> None:
    torch.manual_seed(0)
    inner, head = InputFirst(), nn.Linear(6, 4)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = inner, head

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(torch.tanh(self.inner(x)).mean(1))
            return logits

    x, y = torch.randn(SAMPLES, 3, 5), torch.randint(0, 4, (SAMPLES,))
    total = torch.zeros(6, dtype=torch.float64)
    for sample in range(SAMPLES):
        output = inner(x[sample : sample + 1])
        loss = F.cross_entropy(head(torch.tanh(output).mean(1)), y[sample : sample + 1])
        (gradient,) = torch.autograd.grad(loss, output)
        total += (output.detach() * gradient).sum((0, 1)).double().square() / (2 * SAMPLES)
    layer = traced(Net(), x, y).layer["inner"]
    assert layer.kind == "linear"
    assert layer.fisher == pytest.approx(total.sum().item(), **TOLERANCE)


def test_a_frozen_bias_still_counts_in_the_activation() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
    module[0].bias.requires_grad_(False)
    x, y = torch.randn(SAMPLES, 5), torch.randint(0, 4, (SAMPLES,))
    graph = traced(module, x, y)
    wanted = expected(module, x, y)
    assert graph.layer["0"].bias is None
    assert_equal(graph.layer["0"], wanted["0"])


def test_a_model_with_a_fixed_batch_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    free = randomise(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)))

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = free
            # Which row is which cannot be guessed from sizes, so the batch stays fixed.
            self.register_buffer("rows", torch.arange(2.0).unsqueeze(1) * 0)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.layers(x + self.get_buffer("rows"))
            return logits

    x, y = torch.randn(SAMPLES, 5), torch.randint(0, 4, (SAMPLES,))
    loaded = load_module(Fixed(), torch.randn(2, 5))
    assert not loaded.batch_free
    fixed = fisher(loaded, trace(loaded, TraceSettings()), Samples({"x": x}, y))
    loose = traced(free, x, y)
    assert fixed.importance_samples == SAMPLES
    for one, other in zip(fixed.layers, loose.layers, strict=True):
        assert one.fisher == pytest.approx(other.fisher, **TOLERANCE)


def test_norms_are_those_of_the_folded_weight() -> None:
    module = randomise(Separable()).eval()
    assert isinstance(module, Separable)
    loaded = load_module(module, torch.randn(2, 3, 9, 9))
    graph = trace(loaded, TraceSettings())
    graph = weight_norms(graph, build_weights(graph, loaded.read_weights))
    stem = module.folded().get_parameter("stem.weight")
    by_name = {axis.name: axis for axis in graph.layer["stem"].axes}
    assert list(by_name["output"].norms) == pytest.approx(
        stem.flatten(1).norm(dim=1).tolist(), rel=1e-5
    )
    assert list(by_name["input"].norms) == pytest.approx(
        stem.transpose(0, 1).flatten(1).norm(dim=1).tolist(), rel=1e-5
    )
    assert graph.importance_samples == 0


def test_the_autoencoders_target_is_its_input() -> None:
    module = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6))
    x = torch.randn(4, 6)
    loaded = load_module(module, x)
    graph = trace(loaded, TraceSettings(loss="mse", target="input"))
    scored = fisher(loaded, graph, Samples({"x": x}))
    total = 0.0
    for sample in x:
        output = module(sample)
        (gradient,) = torch.autograd.grad(F.mse_loss(output, sample), output)
        total += (output.detach() * gradient).square().sum().item() / 8
    assert scored.layer["2"].fisher == pytest.approx(total, **TOLERANCE)


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (torch.randn(3, 4), torch.zeros(3, dtype=torch.int64), "the model takes"),
        (torch.randn(3, 5), torch.zeros(2, dtype=torch.int64), "x has 3 samples"),
        (torch.randn(3, 5), torch.tensor([0, 9, 1]), r"y\[1\] is 9, but the model has 4 classes"),
        (torch.randn(3, 5), torch.tensor([-1, 0, 0]), r"y\[0\] is -1.*use values from 0 to 3"),
        (torch.randn(3, 5), torch.tensor([0, 0, -100]), "ignored, in all of sample 2"),
        (torch.randn(3, 5), torch.zeros(3), "y has dtype float32, the model takes int64"),
        (torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "dtype int64"),
        (torch.randn(3, 5), None, "no array y"),
    ],
)
def test_samples_that_do_not_fit(x: Tensor, y: Tensor | None, complaint: str) -> None:
    loaded = load_module(nn.Linear(5, 4), torch.randn(2, 5))
    graph = trace(loaded, TraceSettings())
    with pytest.raises(DataError, match=complaint):
        fisher(loaded, graph, Samples({"x": x}, y))


@pytest.mark.parametrize(
    ("value", "complaint"), [(3e38, "its loss is"), (1e37, "its gradients are not finite")]
)
def test_samples_that_overflow_are_named(value: float, complaint: str) -> None:
    first, second = nn.Linear(5, 8), nn.Linear(8, 4)
    module = nn.Sequential(first, second)
    with torch.no_grad():
        first.weight.fill_(1.0 if value > 1e38 else 1e-10)
        second.weight.copy_(1e3 * torch.arange(4.0).view(4, 1).expand(4, 8))
    loaded = load_module(module, torch.randn(2, 5))
    x = torch.ones(3, 5)
    x[1] = value
    with pytest.raises(DataError, match=rf"data: sample 1 \(its largest input .*{complaint}"):
        fisher(loaded, trace(loaded, TraceSettings()), Samples({"x": x}, torch.arange(3)))


def test_an_inference_graph_has_no_importance() -> None:
    loaded = load_module(nn.Linear(5, 4), torch.randn(2, 5))
    with pytest.raises(DataError, match="training step"):
        fisher(loaded, trace(loaded, TraceSettings(mode="infer")), Samples({"x": torch.ones(1, 5)}))
