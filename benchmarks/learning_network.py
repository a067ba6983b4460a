"""A small network of inverted residual blocks, pre-trained on the old classes, then in int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.learning_data import CLASSES, OLD_CLASSES, Digits, Split, split
from examples.mcunet import Block
from memplan.clients.executors.torch import forward_outputs
from memplan.ir.graph import OpGraph
from memplan.tracing import TraceSettings, trace
from memplan.tracing.importance import fisher
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders import load_module
from memplan.tracing.samples import Samples
from memplan.tracing.weights import build_weights

__all__ = ["BLOCKS", "EPOCHS", "Accuracy", "Rates", "Subject", "network", "subject"]

#: 220,000 weights: in int8 alone they take most of 256 KB.
BLOCKS: tuple[Block, ...] = (
    Block(16, 1, 8, 3, 1, False),
    Block(8, 4, 16, 3, 2, False),
    Block(16, 4, 16, 3, 1, True),
    Block(16, 4, 32, 5, 2, False),
    Block(32, 6, 32, 5, 1, True),
    Block(32, 6, 64, 3, 2, False),
    Block(64, 6, 64, 3, 1, True),
    Block(64, 6, 64, 3, 1, True),
    Block(64, 6, 96, 3, 1, False),
)

#: Of the pre-training: SGD with momentum, cosine schedule.
EPOCHS = 15
_BATCH, _RATE = 32, 0.05


class _Normalized(nn.Module):
    """An inverted residual block with a batch norm behind each convolution."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        wide = block.channels_in * block.expansion
        layers: list[nn.Module] = []
        if block.expansion > 1:
            layers += _convolution(block.channels_in, wide, 1)
        layers += _convolution(wide, wide, block.kernel, block.stride, groups=wide)
        layers += _convolution(wide, block.channels, 1)[:-1]
        self.layers = nn.Sequential(*layers)
        self.skip = block.skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


def network(seed: int) -> nn.Module:
    """Return the network with random weights: 1 channel in, a score for each class out."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *_convolution(1, BLOCKS[0].channels_in, 3, 2),
        *(_Normalized(block) for block in BLOCKS),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(BLOCKS[-1].channels, CLASSES),
    )


def _convolution(
    channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv2d(
        channels_in, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU6()]


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rates: of the integers, and of the float32 head where it has another one."""

    integers: float
    head: float | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Parts of some images that are recognized: of all, of held-back and of old classes."""

    all: float
    held_back: float
    old: float


@dataclass(frozen=True)
class Subject:
    """A pre-trained network and its data; everything that is random about it hangs on the seed."""

    seed: int
    data: Digits
    split: Split
    model: LoadedModel
    #: Images of the adaptation that importance is measured on.
    importance_samples: int = 100
    #: Traced so far, by learning rate, int8 and scaling: each takes a second.
    _graphs: dict[tuple[float, bool, bool], OpGraph] = field(default_factory=dict, repr=False)

    def graph(self, rates: Rates, *, int8: bool = True, aware: bool = True) -> OpGraph:
        """Return one training step at batch 1; ``aware``: quantization-aware scaling."""
        traced = self._traced(rates.integers, int8, aware)
        if rates.head is None or rates.head == rates.integers:
            return traced
        head = traced.layers[-1].id
        other = self._traced(rates.head, int8, aware).operation
        operations = tuple(
            other[operation.id] if operation.layer == head else operation
            for operation in traced.operations
        )
        return traced.model_copy(update={"operations": operations})

    def _traced(self, rate: float, int8: bool, aware: bool) -> OpGraph:
        key = (rate, int8, aware)
        if key not in self._graphs:
            self._graphs[key] = self._trace(*key)
        return self._graphs[key]

    def _trace(self, rate: float, int8: bool, aware: bool) -> OpGraph:
        settings = TraceSettings(batch=1, learning_rate=rate)
        if int8:
            settings = TraceSettings(
                batch=1, learning_rate=rate, quantize="int8", quantization_aware_scaling=aware
            )
        graph = trace(self.model, settings, samples=self._calibration if int8 else None)
        return graph.model_copy(
            update={
                "layers": self._importance.layers,
                "importance_samples": self._importance.importance_samples,
            }
        )

    @cached_property
    def _calibration(self) -> Samples:
        images, _ = self.data.of(self.split.pretraining)
        return Samples({"x": images}, source="pre-training images")

    @cached_property
    def _importance(self) -> OpGraph:
        """A graph whose layers know their importance to the adaptation."""
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(self.split.adaptation), generator=generator)
        chosen = self.split.adaptation[chosen[: self.importance_samples]]
        images, labels = self.data.of(chosen)
        settings = TraceSettings(batch=1, quantize="int8")
        graph = trace(self.model, settings, samples=self._calibration)
        return fisher(self.model, graph, Samples({"x": images}, labels, "adaptation images"))

    def weights(self, graph: OpGraph) -> dict[str, Tensor]:
        """Return the pre-trained weights for a graph of this network."""
        return build_weights(graph, self.model.read_weights)

    @cached_property
    def inference(self) -> OpGraph:
        """One inference in int8."""
        settings = TraceSettings(mode="infer", batch=1, quantize="int8")
        return trace(self.model, settings, samples=self._calibration)

    @cached_property
    def float_inference(self) -> OpGraph:
        """One inference in float32."""
        return trace(self.model, TraceSettings(mode="infer", batch=1))

    def accuracy(
        self, weights: Mapping[str, Tensor], indices: Tensor, *, int8: bool = True
    ) -> Accuracy:
        """Return how many images the network recognizes with the given weights.

        Args:
            weights: those that are not the pre-trained ones, by tensor id.
            indices: of the images.
        """
        scores = self.scores(weights, indices, int8=int8)
        labels = self.data.labels[indices]
        hits, old = scores.argmax(1) == labels, labels < OLD_CLASSES
        return Accuracy(*(float(part.float().mean()) for part in (hits, hits[~old], hits[old])))

    def scores(
        self, weights: Mapping[str, Tensor], indices: Tensor, *, int8: bool = True
    ) -> Tensor:
        """Return the scores (images, CLASSES) of an inference in int8, or in float32."""
        graph = self.inference if int8 else self.float_inference
        known = {tensor.id for tensor in graph.tensors}
        values = self.weights(graph) | {k: v for k, v in weights.items() if k in known}
        (name,) = (tensor.id for tensor in graph.tensors if tensor.role == "input")
        images, _ = self.data.of(indices)
        (scores,) = forward_outputs(graph, len(images), values, {name: images}).values()
        return scores


def subject(seed: int, data: Digits, epochs: int = EPOCHS) -> Subject:
    """Pre-train a network on the old classes for some epochs."""
    parts = split(data.labels, seed)
    module = network(seed)
    _pretrain(module, *data.of(parts.pretraining), epochs, seed)
    return Subject(seed, data, parts, load_module(module.eval(), (data.images[:2],)))


def _pretrain(module: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        module.parameters(), _RATE, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    batches = len(images) // _BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * batches))
    module.train()
    for _ in range(epochs):
        shuffled = torch.randperm(len(images), generator=generator)
        for start in range(0, batches * _BATCH, _BATCH):
            chosen = shuffled[start : start + _BATCH]
            optimizer.zero_grad()
            loss = F.cross_entropy(module(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
