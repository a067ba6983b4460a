"""Weights files: recipes against torch's own folding, and files that do not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from memplan.ir.errors import DataError, ModelError
from memplan.ir.graph import OpGraph, OptimizerKind, WeightSource
from memplan.tracing import TraceSettings, trace
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders import load, load_module
from memplan.tracing.weights import apply_source, build_weights, read_weights_file, write_weights
from tests.support.hostile import export_pt2, pickled_payload, rewrite
from tests.support.models import randomise

torch.set_num_threads(1)


def network() -> Any:
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip
    randomise(layers)
    return layers.eval()


def traced(module: nn.Module, optimizer: OptimizerKind = "sgd") -> tuple[LoadedModel, OpGraph]:
    loaded = load_module(module, torch.randn(2, 2, 4, 4))
    return loaded, trace(loaded, TraceSettings(optimizer=optimizer))


def test_folded_weights_are_those_of_torch() -> None:
    module = network()
    loaded, graph = traced(module)
    weights = build_weights(graph, loaded.read_weights)
    convolution = fuse_conv_bn_eval(module[0], module[1])
    linear = fuse_linear_bn_eval(module[4], module[5])
    for name, expected in {
        "0.weight": convolution.weight, "0.bias": convolution.bias,
        "4.weight": linear.weight, "4.bias": linear.bias,
        "7.weight": module[7].weight, "7.bias": module[7].bias,
    }.items():  # fmt: skip
        torch.testing.assert_close(weights[name], expected.detach(), rtol=1e-6, atol=1e-7)
    assert set(weights) == {tensor.id for tensor in graph.tensors if tensor.source is not None}


def test_a_transposed_convolution_folds_along_dimension_1() -> None:
    convolution, norm = nn.ConvTranspose2d(3, 5, 2), nn.BatchNorm2d(5)
    module: Any = randomise(nn.Sequential(convolution, norm)).eval()
    original = dict(module.state_dict())
    weight = apply_source(
        WeightSource(
            kind="folded_weight", names=("0.weight", "1.weight", "1.running_var"),
            epsilon=norm.eps, transposed=True,
        ),
        original,
    )  # fmt: skip
    bias = apply_source(
        WeightSource(
            kind="folded_bias",
            names=("0.bias", "1.bias", "1.weight", "1.running_mean", "1.running_var"),
            epsilon=norm.eps,
        ),
        original,
    )
    x = torch.randn(2, 3, 4, 4)
    folded = nn.functional.conv_transpose2d(x, weight, bias)
    torch.testing.assert_close(folded, module(x), rtol=1e-5, atol=1e-6)


def test_empty_names_stand_for_one_and_nought() -> None:
    variance, mean = torch.tensor([3.0, 8.0]), torch.tensor([1.0, -2.0])
    original = {"mean": mean, "variance": variance}
    scale = apply_source(
        WeightSource(kind="folded_weight", names=("", "", "variance"), epsilon=1.0), original
    )
    shift = apply_source(
        WeightSource(kind="folded_bias", names=("", "", "", "mean", "variance"), epsilon=1.0),
        original,
    )
    assert scale.tolist() == pytest.approx([1 / 2, 1 / 3])
    assert shift.tolist() == pytest.approx([-1 / 2, 2 / 3])


def test_a_recipe_that_names_too_little() -> None:
    with pytest.raises(DataError, match="malformed"):
        apply_source(WeightSource(kind="folded_weight", names=("a",)), {"a": torch.ones(1)})
    with pytest.raises(DataError, match="no tensor 'b'"):
        apply_source(WeightSource(kind="copy", names=("b",)), {"a": torch.ones(1)})


def test_a_file_brings_back_what_was_written(tmp_path: Path) -> None:
    loaded, graph = traced(network(), "momentum")
    weights = build_weights(graph, loaded.read_weights)
    states = [tensor for tensor in graph.tensors if tensor.role == "state"]
    assert states
    assert all(not weights[tensor.id].any() for tensor in states)
    path = str(tmp_path / "w.safetensors")
    write_weights(path, weights)
    again = read_weights_file(graph, path)
    assert set(again) == set(weights)
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_weights_come_from_the_exported_program_too(tmp_path: Path) -> None:
    module = network()
    path = str(export_pt2(tmp_path / "m.pt2", module, (torch.randn(2, 2, 4, 4),)))
    loaded = load(path)
    graph = trace(loaded, TraceSettings())
    weights = read_weights_file(graph, path)
    expected = build_weights(graph, loaded.read_weights)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_strided_and_shared_tensors_can_be_written(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    path = str(tmp_path / "w.safetensors")
    write_weights(path, {"a": base.t(), "b": base[:2]})
    stored = load_file(path)
    assert torch.equal(stored["a"], base.t())
    assert torch.equal(stored["b"], base[:2])


def test_optimizer_state_may_be_missing_parameters_not(tmp_path: Path) -> None:
    loaded, graph = traced(network(), "adam")
    weights = build_weights(graph, loaded.read_weights)
    path = str(tmp_path / "w.safetensors")
    parameters = {t.id: weights[t.id] for t in graph.tensors if t.role == "parameter"}
    save_file(parameters, path)
    assert set(read_weights_file(graph, path)) == set(weights)
    first = next(iter(parameters))
    save_file({name: value for name, value in parameters.items() if name != first}, path)
    with pytest.raises(DataError, match=f"no weights for '{first}'"):
        read_weights_file(graph, path)
    save_file(parameters | {first: torch.zeros(1, 2, 3)}, path)
    with pytest.raises(DataError, match="the graph says"):
        read_weights_file(graph, path)
    save_file(parameters | {first: parameters[first].double()}, path)
    with pytest.raises(DataError, match=r"float64.*the graph says float32"):
        read_weights_file(graph, path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"{}", b"PK", b"PK\3\4"])
def test_files_that_hold_no_weights(tmp_path: Path, content: bytes) -> None:
    _, graph = traced(network())
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises((DataError, ModelError)) as caught:
        read_weights_file(graph, str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_weights_file(graph, str(tmp_path / "absent"))


@pytest.mark.parametrize("zipped", [True, False])
def test_what_to_do_with_a_pickle(tmp_path: Path, zipped: bool) -> None:
    _, graph = traced(network())
    path = tmp_path / "m.pt"
    torch.save({}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"a pickle \(\.pt\).*--weights-out w\.safetensors"):
        read_weights_file(graph, str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(DataError, match=r"no weights file; weights are the model's \.pt2"):
        read_weights_file(graph, str(path))


def test_a_hostile_program_gives_no_weights_and_runs_nothing(tmp_path: Path) -> None:
    _, graph = traced(network())
    marker = tmp_path / "marker"
    path = export_pt2(tmp_path / "m.pt2", network(), (torch.randn(2, 2, 4, 4),))
    rewrite(
        path,
        {
            "weights/weight_0": pickled_payload(marker),
            "model_weights_config.json": lambda text: text.replace(
                b'"use_pickle": false', b'"use_pickle": true'
            ).replace(b'"use_pickle":false', b'"use_pickle":true'),
        },
    )
    with pytest.raises(ValueError, match="pickle"):
        read_weights_file(graph, str(path))
    assert not marker.exists()


def test_nothing_is_left_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_weights(str(target), {"a": torch.zeros(2)})
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(DataError, match="cannot be written"):
        write_weights(str(tmp_path / "no" / "folder"), {"a": torch.zeros(2)})
