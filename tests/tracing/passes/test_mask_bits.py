import pytest
import torch
from torch import nn

from memplan.tracing.passes.mask_bits import offer_mask_bits
from tests.support.passes import labels_for, same_step, ways


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.3, 0.4)])
def test_a_bit_per_element_gives_the_same_gradient(activation: nn.Module) -> None:
    # 27 elements per sample: each sample starts a byte of its own.
    module = nn.Sequential(nn.Conv2d(2, 3, 2), activation, nn.Flatten(), nn.Linear(27, 4))
    x = 4 * torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    without, graph = same_step(
        module, (x,), offer_mask_bits, labels=labels_for(5, 4), prefer=("from_bits",)
    )
    assert not ways(without, "from_bits")
    ((_, way),) = ways(graph, "from_bits")
    bits = graph.tensor[way.reads[1].tensor]
    assert bits.dtype == "bit"
    assert bits.size_bytes.at(5) == 5 * 4
    maker = graph.producer[bits.id]
    assert maker.phase == "forward"
    assert maker.recomputable


def test_activations_that_are_no_clamps_have_no_mask() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))
    _, graph = same_step(module, (torch.randn(2, 4),), offer_mask_bits, labels=labels_for(2, 3))
    assert not ways(graph, "from_bits")
