from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.planners.instances import default_instances
from benchmarks.planners.networks import NETWORKS
from benchmarks.planners.problem import simulate
from benchmarks.planners.torch_graphs import MODELS, trace


def test_large_networks_are_instances_by_name() -> None:
    (problem,) = default_instances(["vgg16-224"])
    assert problem.name == "vgg16-224"
    # Activations of the first convolution: batch 8, 64 channels, 224 x 224, fp32.
    assert max(problem.sizes_bytes) >= 8 * 64 * 224 * 224 * 4
    # 15.3 GMACs an image forward in the convolutions, and about twice that backward.
    assert 3 * 8 * 15.3e9 < problem.base_cost < 3.3 * 8 * 15.3e9
    # Time is MACs and what is moved; the first convolution needs no gradient of the image.
    assert problem.base_macs is not None
    assert 2.9 * 8 * 15.3e9 < problem.base_macs < problem.base_cost
    assert all(macs <= cost for macs, cost in zip(problem.macs, problem.costs, strict=True))
    assert simulate(problem, range(problem.count)).peak_bytes == problem.plain_peak_bytes


def test_a_network_without_norms_has_none() -> None:
    module, _ = NETWORKS["resnet50-no-norm-224"]()
    kinds = [type(each) for each in module.modules()]
    assert nn.BatchNorm2d not in kinds and kinds.count(nn.Conv2d) == 53


def test_weights_that_are_tied_are_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 16)
            self.head = nn.Linear(16, 50, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, words: Tensor) -> Tensor:
            logits: Tensor = self.head(self.embedding(words))
            return logits

    problem = trace("tied", Tied().train(), (torch.zeros(2, 5, dtype=torch.long),)).problem
    # Both gradients of the one weight, and their sum.
    assert sum(size == 50 * 16 * 4 for size in problem.sizes_bytes) == 3


def test_all_of_them_are_known_to_the_partitioner() -> None:
    assert NETWORKS.keys() < MODELS.keys()


@pytest.mark.parametrize("names", [["chain-20-seed0"], ["chain-20-seed0", "layered-30"]])
def test_only_what_is_asked_for_is_made(names: list[str]) -> None:
    assert [problem.name for problem in default_instances(names)] == ["chain-20-seed0"]
