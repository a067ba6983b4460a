"""Models of the ``transformers`` package, from Python and from files with a fixed batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from memplan.tracing.loaders import load, load_module
from tests.support.forward import run_with_weights
from tests.support.models import TRANSFORMERS, build

torch.set_num_threads(1)
pytestmark = pytest.mark.slow


#: One sample is the hard case: it looks like one head, one channel, one anything.
ONE_SAMPLE = ("gpt2", "vit", "distilbert", "convnext")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_file_with_a_fixed_batch_runs_at_any(tmp_path: Path, name: str) -> None:
    batch = 1 if name in ONE_SAMPLE else 2
    module, inputs = build(TRANSFORMERS[name], 4, double=False)
    first = {key: value[:batch] for key, value in inputs.items()}
    program = torch.export.export(module, (), first)
    torch.export.save(program, str(tmp_path / "m.pt2"))
    loaded = load(str(tmp_path / "m.pt2"))
    assert loaded.batch == batch
    assert loaded.batch_free, loaded.notes
    assert loaded.trainable == {name for name, _ in module.named_parameters()}
    with torch.no_grad():
        for rows in (slice(0, 4), slice(1, 3), slice(3, 4)):
            chosen = {key: value[rows] for key, value in inputs.items()}
            output = run_with_weights(loaded, *(chosen[item.name] for item in loaded.inputs))[0]
            torch.testing.assert_close(output, module(**chosen)[0], rtol=1e-4, atol=1e-5)


def test_outputs_of_unknown_classes_are_left_out() -> None:
    """GPT-2 returns its cache too, in a class that torch.export does not know."""
    module, inputs = build(TRANSFORMERS["gpt2"], 2, double=False)
    config: Any = module.config
    config.use_cache = True
    loaded = load_module(module, inputs)
    assert loaded.batch_free
    assert loaded.tied == {"lm_head.weight": "transformer.wte.weight"}
    outputs = run_with_weights(loaded, *(inputs[item.name] for item in loaded.inputs))
    torch.testing.assert_close(outputs[0], module(**inputs).logits, rtol=1e-4, atol=1e-5)
