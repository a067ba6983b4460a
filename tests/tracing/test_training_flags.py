"""Exported programs put into the mode that a graph states."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from memplan.tracing.loaders import load_module
from memplan.tracing.training_flags import without_chance


def network() -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    unkept = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Dropout(0.5), nn.Dropout2d(0.5), unkept)


@pytest.mark.parametrize("exported", ["train", "eval"])
@pytest.mark.parametrize("batch_statistics", [True, False])
def test_the_mode_of_the_export_does_not_matter(exported: str, batch_statistics: bool) -> None:
    module, x = network(), torch.randn(4, 3, 5, 5)
    wanted = copy.deepcopy(module).eval()
    wanted[1].train(batch_statistics)
    expected = wanted(x)
    model = load_module(module.train(exported == "train"), x)
    quiet = without_chance(model.forward, batch_statistics=batch_statistics)
    for name, value in model.read_weights().items():
        owner, _, attribute = name.rpartition(".")
        part = quiet.get_submodule(owner)
        if attribute in part._parameters:
            part._parameters[attribute] = nn.Parameter(value.clone(), requires_grad=False)
        else:
            part._buffers[attribute] = value.clone()
    (result,) = quiet(x)
    assert torch.allclose(result, expected, atol=1e-6)
