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


NETWORKS: Mapping[str, Callable[[], Example]] = MappingProxyType(
    {
        "vgg16-224": partial(_on_images, _vgg16),
        "unet-224": partial(_on_images, _unet),
        "bert-small-128": _bert_small,
        "mobilenet-v2-224": partial(_on_images, partial(_of_example, mobilenet_v2)),
        "resnet50-224": partial(_on_images, partial(_of_example, resnet50)),
        "densenet121-224": partial(_on_images, partial(_of_example, densenet121)),
    }
)
