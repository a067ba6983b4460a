"""Small networks that have every form of an int8 graph, traced on samples of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memplan.ir.graph import OpGraph
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders import load_module
from memplan.tracing.samples import Samples
from memplan.tracing.settings import TraceSettings
from memplan.tracing.trace import trace
from memplan.tracing.weights import build_weights

__all__ = ["Excited", "Mixed", "Quantized", "Residual", "quantized", "targets"]


class Residual(nn.Module):
    """Inverted residual blocks: ReLU6, a linear end, a sum, a mean and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 16, 1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.stem(x)))
        y = F.relu6(self.depth(F.relu6(self.wide(x))))
        logits: Tensor = self.head((x + self.narrow(y)).mean((2, 3)))
        return logits


class Mixed(nn.Module):
    """Padding, dilation, groups, pools and a sum with its clamp."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.same = nn.Conv2d(8, 8, 3, padding="same", dilation=2)
        self.groups = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(F.pad(x, (0, 1, 0, 1))))
        y = self.same(x) + self.groups(F.max_pool2d(x, 3, 1, 1))
        logits: Tensor = self.head(F.avg_pool2d(F.hardtanh(y, -1, 1), 4).flatten(1))
        return logits


class Excited(nn.Module):
    """Squeeze and excitation, hard-swish and a joining: float32 between int8 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(16, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.first(x))
        y = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        logits: Tensor = self.head(self.last(torch.cat([x, x * y], 1)).mean((2, 3)))
        return logits


@dataclass(frozen=True)
class Quantized:
    """A network in int8, with weights and a batch to train on."""

    model: LoadedModel
    graph: OpGraph
    weights: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]


def quantized(
    network: type[nn.Module],
    *,
    size: int = 8,
    batch: int = 4,
    learning_rate: float = 4.0,
    **settings: object,
) -> Quantized:
    """Trace a network in int8 on random samples that calibrate it and train it."""
    torch.manual_seed(3)
    module = network().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_var is not None
            assert part.running_mean is not None
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.running_mean, 0.0, 0.3)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    x = torch.randn(batch, 3, size, size)
    model = load_module(module, (x,))
    samples = Samples({"x": x}, source="samples")
    chosen = TraceSettings(
        quantize="int8",
        learning_rate=learning_rate,
        **settings,  # type: ignore[arg-type]
    )
    graph = trace(model, chosen, samples=samples)
    inputs = {
        tensor.id: x if tensor.role == "input" else torch.arange(batch) % 3
        for tensor in graph.tensors
        if tensor.role in ("input", "label")
    }
    return Quantized(model, graph, build_weights(graph, model.read_weights), inputs)


def targets(graph: OpGraph) -> list[str]:
    """Return what each operation of the forward pass executes."""
    return [
        operation.alternatives[0].target
        for operation in graph.operations
        if operation.phase == "forward"
    ]
