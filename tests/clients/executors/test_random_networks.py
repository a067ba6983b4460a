"""Random small networks, traced, planned at random, executed over poison, against autograd."""

from __future__ import annotations

import random
from typing import cast

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from memplan.clients.executors.torch import compare, model_step
from memplan.ir.graph import OptimizerKind
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.training import (
    against_autograd,
    random_inputs,
    random_mask,
    random_plan,
    traced_module,
)
from tests.support.models import randomise

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Tanh, nn.GELU, nn.Identity)


class RandomNetwork(nn.Module):
    """Convolutions of all kinds, additions, concatenations, pools and linear layers."""

    def __init__(self, seed: int, blocks: int) -> None:
        super().__init__()
        choose = random.Random(seed)
        self.kinds: list[str] = []
        self.parts = nn.ModuleList()
        width = choose.choice((3, 4))
        self.inputs, self.size = width, choose.choice((6, 8))
        size = self.size
        for _ in range(blocks):
            kind = choose.choice(("conv", "conv", "depthwise", "add", "cat", "pool", "norm"))
            part: nn.Module
            if kind == "pool":
                if size < 4:
                    continue
                part = choose.choice((nn.MaxPool2d(2), nn.AvgPool2d(2)))
                size //= 2
            elif kind == "norm":
                part = nn.Sequential(nn.BatchNorm2d(width), choose.choice(ACTIVATIONS)())
            elif kind == "conv":
                out = choose.choice((4, 6, 8))
                part = self._convolution(choose, width, out)
                width = out
            elif kind == "depthwise":
                part = nn.Sequential(
                    nn.Conv2d(width, width, 3, padding=1, groups=width),
                    choose.choice(ACTIVATIONS)(),
                )
            else:
                part = self._convolution(choose, width, width)
                width *= 1 + (kind == "cat")
            self.kinds.append(kind)
            self.parts.append(part)
        self.flatten = choose.random() < 0.5 and width * size * size < 400
        self.head = nn.Linear(width * size * size if self.flatten else width, 4)

    @staticmethod
    def _convolution(choose: random.Random, width: int, out: int) -> nn.Module:
        kernel = choose.choice((1, 3))
        layers: list[nn.Module] = [
            nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=choose.random() < 0.7)
        ]
        if choose.random() < 0.4:
            layers.append(nn.BatchNorm2d(out))
        layers.append(choose.choice(ACTIVATIONS)())
        return nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kind, part in zip(self.kinds, self.parts, strict=True):
            y = part(x)
            x = x + y if kind == "add" else torch.cat([x, y], 1) if kind == "cat" else y
        x = x.flatten(1) if self.flatten else F.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(torch.Tensor, self.head(x))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    blocks=st.integers(1, 5),
    batch_and_micro=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
    optimizer=st.sampled_from(["sgd", "momentum", "adam"]),
    slices=st.booleans(),
)
def test_random_networks_equal_autograd(
    seed: int, blocks: int, batch_and_micro: tuple[int, int], optimizer: OptimizerKind, slices: bool
) -> None:
    torch.manual_seed(seed)
    network = RandomNetwork(seed, blocks)
    module = randomise(network, seed).eval()
    shape = (2, network.inputs, network.size, network.size)
    chosen = TraceSettings(optimizer=optimizer)
    case = traced_module(module, {"x": torch.randn(shape)}, chosen)
    graph, (batch, micro_batch) = case.graph, batch_and_micro
    inputs = random_inputs(graph, batch, classes=4, seed=seed)
    mask = random_mask(graph, seed if slices else -1)
    plan = random_plan(graph, batch, micro_batch, mask, seed)
    result, comparison = against_autograd(graph, plan, case.weights, inputs)
    # A random mask may train one bias behind a dead activation: nothing to see, nothing wrong.
    assert comparison.ok or comparison.vacuous, comparison.problem
    assert all(parameter.ok for parameter in comparison.parameters)
    if not comparison.vacuous:
        original = compare(result, model_step(module, graph, mask, case.weights, inputs))
        assert original.ok, original.problem
