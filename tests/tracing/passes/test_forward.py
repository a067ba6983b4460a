"""Rewrites of the forward graph, run against the module that they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.tracing import TraceSettings, trace
from memplan.tracing.capture_forward import copy_forward, run_forward
from memplan.tracing.loaders import load_module
from memplan.tracing.passes.forward.in_place import in_place_to_functional
from tests.support.models import randomise
from tests.support.passes import assert_equals_autograd, graph_without, labels_for, targets

RARE = 1e-12


class Attention(nn.Module):
    allowed: Tensor
    added: Tensor

    def __init__(self, mask: str, key_heads: int = 2) -> None:
        super().__init__()
        self.q = nn.Linear(6, 8)
        self.k = nn.Linear(6, 4 * key_heads)
        self.v = nn.Linear(6, 4 * key_heads)
        self.mask = mask
        self.key_heads = key_heads
        self.register_buffer("allowed", torch.tensor([[True, False, True], [True] * 3, [True] * 3]))
        self.register_buffer("added", torch.tensor([[0.1, -0.4, 2.0]] * 3))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q = self.q(x).view(n, t, 2, 4).transpose(1, 2)
        k = self.k(x).view(n, t, self.key_heads, 4).transpose(1, 2)
        v = self.v(x).view(n, t, self.key_heads, 4).transpose(1, 2)
        masks: dict[str, Tensor] = {"boolean": self.allowed, "float": self.added}
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=masks.get(self.mask),
            is_causal=self.mask == "causal",
            dropout_p=RARE if self.training else 0.0,
            scale=0.3 if self.mask == "float" else None,
            enable_gqa=self.key_heads == 1,
        )
        return y.transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("mask", "key_heads"), [("", 2), ("causal", 2), ("boolean", 2), ("float", 2), ("causal", 1)]
)
def test_attention_with_active_dropout(mask: str, key_heads: int) -> None:
    module = randomise(Attention(mask, key_heads)).train()
    x, labels = torch.randn(2, 3, 6), torch.tensor([[0, 3, 5], [7, 1, 2]])
    graph = graph_without(module, (x,))
    assert "memplan.dropout" in targets(graph)
    assert not [target for target in targets(graph) if "scaled_dot_product" in target]
    loss = F.cross_entropy(module.eval()(x).flatten(0, 1), labels.flatten())
    assert_equals_autograd(graph, module, x, labels, loss)


def test_dropout_is_gone_in_inference_and_in_eval_mode() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout1d(0.3), nn.Linear(4, 3))
    for mode, settings in ((True, TraceSettings(mode="infer")), (False, TraceSettings())):
        graph = trace(load_module(module.train(mode), (torch.randn(2, 4),)), settings)
        assert not [target for target in targets(graph) if "dropout" in target]


def test_every_dropout_has_a_salt_of_its_own() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4), nn.Dropout(0.5))
    graph = trace(load_module(module.train(), (torch.randn(2, 4),)))
    salts: dict[str, list[Any]] = {}
    for operation in graph.operations:
        way = operation.alternatives[0]
        if way.target.startswith("memplan.dropout"):
            salts.setdefault(way.target, []).append(way.arguments[2])
    assert salts == {"memplan.dropout": [0, 1], "memplan.dropout_backward": [1, 0]}
    dropouts = [op for op in graph.operations if op.alternatives[0].target == "memplan.dropout"]
    assert all(operation.recomputable for operation in dropouts)


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.a(x))


def _twice(x: Tensor) -> Tensor:
    y = x.add_(1.0 * x.detach())
    x.add_(2.0 * y.detach())
    return torch.tanh(x) + 3 * y


def _through_a_view(x: Tensor) -> Tensor:
    x[:, :2].mul_(3.0)
    return torch.tanh_(x) + x


def _read_before(x: Tensor) -> Tensor:
    y = x * 2
    x.sigmoid_()
    return x + y


@pytest.mark.parametrize("function", [_twice, _through_a_view, _read_before, lambda x: x.relu_()])
def test_in_place_code_means_what_it_meant(function: Callable[[Tensor], Tensor]) -> None:
    module = randomise(Function(function))
    x, labels = torch.randn(3, 4), labels_for(3, 4)
    graph = graph_without(module, (x,))
    loss = F.cross_entropy(module(x), labels)
    step = assert_equals_autograd(graph, module, x, labels, loss)
    assert step.loss == pytest.approx(loss.item(), rel=1e-6)


def test_only_unaliased_calls_are_rewritten() -> None:
    for function, rewritten in ((lambda x: x.relu_(), True), (_through_a_view, False)):
        forward = copy_forward(load_module(Function(function), (torch.randn(2, 4),)))
        run_forward(forward)
        in_place_to_functional(forward, TraceSettings())
        names = [str(node.target) for node in forward.graph.nodes if node.op == "call_function"]
        assert any(name.endswith("_.default") for name in names) is not rewritten


def test_instance_norm_does_not_couple_samples() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Flatten())
    graph = graph_without(randomise(module), (torch.randn(2, 3, 5, 5),))
    assert "aten.native_group_norm.default" in targets(graph)
    assert graph.batch_coupled_by == ""
