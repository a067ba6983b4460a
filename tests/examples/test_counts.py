"""Parameters and MACs of the examples against what their papers and references publish."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from examples.catalogue import EXAMPLES, Example, example

#: Name -> (trainable parameters, MACs of one sample), None where nothing is published.
PUBLISHED: dict[str, tuple[int | None, int | None]] = {
    "resnet8": (78_186, 12_501_632),
    "ds-cnn": (23_756, 2_656_768),
    "mobilenet-v1-0.25": (216_322, 7_489_664),
    "autoencoder": (267_928, 264_192),
    "mobilenet-v2": (3_504_872, 300_774_272),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "vgg11": (9_220_480 + 513 * 10, None),
    "densenet121": (7_978_856, 2_834_161_664),
    # The published files have 1000 classes; here backbone and a classifier of 10.
    "mcunet-5fps": (469_224 + 161 * 10, 22_453_504 + 1600),
    "mbv2-w0.35": (244_448 + 113 * 10, 16_646_912 + 1120),
    "proxyless-w0.3": (326_232 + 97 * 10, 18_619_904 + 960),
    "bert-mini": (11_170_560 + 257 * 2, None),
}


def build(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    module_name, function = example(name).factory.split(":")
    made: tuple[nn.Module, tuple[torch.Tensor, ...]] = getattr(
        importlib.import_module(module_name), function
    )()
    return made


def count_macs(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            total += output[0].numel() * layer.weight[0].numel()

    for layer in module.modules():
        layer.register_forward_hook(count)
    with torch.no_grad():
        module(*(tensor[:1] for tensor in inputs))
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    module, inputs = build(name)
    parameters, macs = PUBLISHED[name]
    if parameters is not None:
        assert sum(p.numel() for p in module.parameters() if p.requires_grad) == parameters
    if macs is not None:
        assert count_macs(module, inputs) == macs


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: entry.name)
def test_an_example_is_seeded_and_alive(entry: Example) -> None:
    torch.set_num_threads(1)
    module, inputs = build(entry.name)
    twin, _ = build(entry.name)
    for left, right in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(left, right)
    if inputs[0].dim() == 4 and inputs[0].shape[-1] > 128:
        inputs = (inputs[0][..., :96, :96],)
    with torch.no_grad():
        outputs = module(*inputs)
    assert inputs[0].shape[0] == entry.batch == outputs.shape[0]
    assert 0.05 < outputs.std() < 50
    # Two samples give two answers: the signal gets through.
    assert (outputs[0] - outputs[1]).abs().max() > 0.01 * outputs.std()
