"""Networks of the size that recomputation is published for, on images of 224 or 128 tokens.

They are traced on tensors without data, so that a step of gigabytes costs no bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from examples.bert import Bert
from examples.densenet import densenet121
from examples.mobilenet_v2 import mobilenet_v2
from examples.resnet import resnet50
from examples.unet import UNet

__all__ = ["NETWORKS"]

Example = tuple[nn.Module, tuple[Tensor, ...]]

_BATCH = 8
_IMAGE = 224
#: Channels of the convolutions of VGG-16; 0 is a pooling layer.
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def _on_images(build: Callable[[], nn.Module]) -> Example:
    return build(), (torch.empty(_BATCH, 3, _IMAGE, _IMAGE),)


def _of_example(build: Callable[[], Example]) -> nn.Module:
    return build()[0]


def _vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels_in = 3
    for channels in _VGG16:
        if channels == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU(inplace=True)]
        channels_in = channels
    last = channels_in * (_IMAGE // 32) ** 2
    return nn.Sequential(
        *layers, nn.Flatten(),
        nn.Linear(last, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(4096, 1000),
    )  # fmt: skip


def _unet() -> nn.Module:
    return UNet((64, 128, 256, 512, 1024), classes=2)


def _bert_small() -> Example:
    """Four layers of 512 with 8 heads (Turc et al., 2019), 128 tokens."""
    return Bert(30522, 512, 512, 4, 8, 2), (torch.zeros(_BATCH, 128, dtype=torch.int64),)


def _resnet50_without_norms() -> nn.Module:
    """Of its operations more are dear, so that recomputation costs more than with norms."""
    model = _of_example(resnet50)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


class _UnrolledLstm(nn.Module):
    """Two layers of 256 over 32 tokens: the same step 64 times, of which nothing is dear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 256)
        self.cells = nn.ModuleList(nn.Linear(512, 1024) for _ in range(2))
        self.head = nn.Linear(256, 1000)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        states = [(torch.zeros_like(embedded[:, 0]),) * 2 for _ in self.cells]
        results = []
        for step in range(tokens.shape[1]):
            value = embedded[:, step]
            for layer, cell in enumerate(self.cells):
                hidden, state = states[layer]
                gates = cell(torch.cat((value, hidden), 1)).chunk(4, 1)
                kept = torch.sigmoid(gates[1]) * state
                state = kept + torch.sigmoid(gates[0]) * torch.tanh(gates[2])
                value = torch.sigmoid(gates[3]) * torch.tanh(state)
                states[layer] = value, state
            results.append(value)
        head: Tensor = self.head(torch.stack(results, 1))
        return head


def _lstm() -> Example:
    return _UnrolledLstm(), (torch.zeros(16, 32, dtype=torch.int64),)


NETWORKS: Mapping[str, Callable[[], Example]] = MappingProxyType(
    {
        "vgg16-224": partial(_on_images, _vgg16),
        "unet-224": partial(_on_images, _unet),
        "bert-small-128": _bert_small,
        "mobilenet-v2-224": partial(_on_images, partial(_of_example, mobilenet_v2)),
        "resnet50-224": partial(_on_images, partial(_of_example, resnet50)),
        "resnet50-no-norm-224": partial(_on_images, _resnet50_without_norms),
        "densenet121-224": partial(_on_images, partial(_of_example, densenet121)),
        "lstm-32": _lstm,
    }
)
