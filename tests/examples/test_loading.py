"""The smaller examples through the loaders: as factories, and as files with a fixed batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples.catalogue import EXAMPLES, example
from memplan.tracing.loaders import load
from tests.examples.test_counts import build
from tests.support.forward import run_with_weights

torch.set_num_threads(1)
SMALL = ("resnet8", "ds-cnn", "autoencoder", "proxyless-w0.3", "unet", "causal-transformer")


@pytest.mark.parametrize("name", SMALL)
def test_file_and_factory_agree_with_the_module(tmp_path: Path, name: str) -> None:
    module, inputs = build(name)
    from_factory = load(example(name).factory)
    torch.export.save(torch.export.export(module, inputs), str(tmp_path / "m.pt2"))
    from_file = load(str(tmp_path / "m.pt2"))
    assert from_factory.batch_free
    assert from_file.batch_free, from_file.notes
    assert from_factory.trainable == from_file.trainable
    assert from_factory.tied == from_file.tied
    with torch.no_grad():
        expected = module(*inputs)
    for loaded in (from_factory, from_file):
        torch.testing.assert_close(
            run_with_weights(loaded, *inputs)[0], expected, rtol=1e-5, atol=1e-5
        )


def test_names_in_the_catalogue_are_unique_and_complete() -> None:
    assert len({entry.name for entry in EXAMPLES}) == len(EXAMPLES) == 15
    assert example("autoencoder").target == "input"
    with pytest.raises(KeyError):
        example("absent")
