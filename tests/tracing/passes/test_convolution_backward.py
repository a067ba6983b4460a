from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.graph_interpreter import full_mask
from tests.support.models import randomise
from tests.support.passes import assert_equals_autograd, graph_without, labels_for, targets

CONVOLUTIONS: dict[str, Callable[[], Any]] = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, 3, stride=2, bias=False),
    "dilated": lambda: nn.Conv2d(4, 6, 3, dilation=2),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
    "one dimension": lambda: nn.Conv1d(4, 6, 3, padding="same"),
    "three dimensions": lambda: nn.Conv3d(4, 6, 2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_the_parts_equal_the_whole(kind: str) -> None:
    convolution = CONVOLUTIONS[kind]()
    first = type(convolution)(3, 4, 1)
    module = randomise(nn.Sequential(first, nn.Tanh(), convolution, nn.Flatten()))
    rank = first.weight.dim() - 2
    x = torch.randn(3, 3, *[6] * rank, generator=torch.Generator().manual_seed(0))
    graph = graph_without(module, (x,))
    assert "aten.convolution_backward.default" not in targets(graph)
    labels = labels_for(3, 5)
    loss = torch.nn.functional.cross_entropy(module(x), labels)
    # The bias is summed in another order: 1e-4 of the largest value.
    assert_equals_autograd(graph, module, x, labels, loss, mask=full_mask(graph), atol=2e-5)


def test_the_input_gradient_comes_first_and_needs_no_input() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Flatten())
    graph = graph_without(module, (torch.randn(2, 3, 6, 6),))
    ids = [operation.id for operation in graph.operations]
    assert ids.index("1.input_gradient") < ids.index("1.weight.gradient")
    reads = [r.tensor for r in graph.operation["1.input_gradient"].alternatives[0].reads]
    assert "1.weight" in reads
    assert "0" not in reads
