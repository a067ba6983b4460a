"""A user's samples against models and graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from memplan.ir.errors import DataError
from memplan.ir.graph import OpGraph
from memplan.tracing import TraceSettings, data_file, trace
from memplan.tracing.loaders import load_module
from memplan.tracing.samples import (
    Samples,
    check_indices,
    fitting,
    index_limit,
    load_samples,
    model_inputs,
)


def language_model() -> OpGraph:
    module = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 13))
    return trace(load_module(module, torch.zeros(2, 6, dtype=torch.int64)), TraceSettings())


def test_samples_are_read_from_npz(tmp_path: Path) -> None:
    path = str(tmp_path / "data.npz")
    np.savez(path, x=np.ones((3, 5), dtype=">f4"), y=np.arange(3, dtype=np.uint32))
    samples = load_samples(path)
    assert samples.count == 3
    assert samples.x["x"].shape == (3, 5)
    assert samples.y is not None
    assert samples.y.tolist() == [0, 1, 2]
    assert samples.source == path


def test_shapes_are_checked_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_module(nn.Linear(5, 4), torch.randn(2, 5))
    path = str(tmp_path / "data.npz")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"x": np.zeros((2, 6), np.float32)}, "the model takes"),
        ({"x": np.zeros((2, 5), np.uint16)}, "int64"),
        ({"x": np.zeros((2, 5), np.float32), "y": np.zeros(3)}, "y has 3 samples"),
    ]
    monkeypatch.setattr(data_file, "_read", None)
    for arrays, complaint in wrong:
        np.savez_compressed(path, **arrays)
        with pytest.raises(DataError, match=complaint):
            load_samples(path, lambda samples: model_inputs(samples, model))
    monkeypatch.undo()
    np.savez(path, x=np.ones((2, 5), np.float32))
    samples = load_samples(path, lambda samples: model_inputs(samples, model))
    assert torch.equal(samples.x["x"], torch.ones(2, 5))


def test_a_file_without_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", y=np.ones(3))
    with pytest.raises(DataError, match="no inputs"):
        load_samples(str(tmp_path / "data.npz"))


@pytest.mark.parametrize("names", [("input",), ("x",), ("whatever",), ("x", "other")])
def test_the_only_input_has_several_names(names: tuple[str, ...]) -> None:
    samples = Samples({name: torch.full((2, 5), float(at)) for at, name in enumerate(names)})
    (value,) = model_inputs(samples, load_module(nn.Linear(5, 4), torch.randn(2, 5)))
    assert torch.equal(value, torch.zeros(2, 5))


def test_an_array_that_is_missing_is_named() -> None:
    model = load_module(nn.Linear(5, 4), torch.randn(2, 5))
    samples = Samples({"a": torch.ones(2, 5), "b": torch.ones(2, 5)}, source="data.npz")
    with pytest.raises(DataError, match=r"^data\.npz: no array for input 'input'.*has a, b\)"):
        model_inputs(samples, model)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (torch.ones(2, 4), r"samples of shape \[4\], the model takes \[5\]"),
        (torch.tensor(1.0), "one number"),
        (torch.ones(2, 5, dtype=torch.uint8), r"uint8.*astype\('float32'\)"),
        (torch.tensor([[0.0], [1e300], [-1e300]], dtype=torch.float64).expand(3, 5), "1 and 2"),
    ],
)
def test_arrays_that_do_not_fit(value: torch.Tensor, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        fitting(value, [5], torch.float32, "data.npz: x")


def test_arrays_that_fit_are_converted() -> None:
    value = torch.ones(2, 5, dtype=torch.float64)
    assert fitting(value, [5], torch.float32, "x").dtype == torch.float32
    table = torch.ones(7, 5)
    assert fitting(table, [7, 5], torch.float32, "x", batched=False) is table


def test_labels_and_tokens_have_limits() -> None:
    graph = language_model()
    limits = {tensor.role: index_limit(graph, tensor) for tensor in graph.tensors}
    assert limits["input"] == 11
    assert limits["label"] == 13
    assert limits["parameter"] is None


@pytest.mark.parametrize(
    ("role", "wrong", "complaint"),
    [
        ("label", 13, r"y\[1, 2\] is 13, but the model has 13 classes; use values from 0 to 12"),
        ("label", -1, r"y\[1, 2\] is -1"),
        ("label", -100, None),
        ("label", 12, None),
        ("input", 11, r"y\[1, 2\] is 11, but 11 are known"),
        ("input", -100, r"is -100"),
    ],
)
def test_indices_out_of_range(role: str, wrong: int, complaint: str | None) -> None:
    graph = language_model()
    tensor = next(tensor for tensor in graph.tensors if tensor.role == role)
    values = torch.zeros(2, 6, dtype=torch.int64)
    values[1, 2] = wrong
    if complaint is None:
        check_indices(values, tensor, graph, "y")
        return
    with pytest.raises(DataError, match=complaint):
        check_indices(values, tensor, graph, "y")
