"""The whole path with everything real: model, plan, check, arena, autograd."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import memplan
from memplan.clients import pipeline
from memplan.clients.cli import main
from memplan.clients.cli.samples import inputs_of_file, random_inputs
from memplan.ir.errors import DataError, ModelError, RequestError
from memplan.ir.graph import OpGraph
from memplan.planner_service.children import ChildWorker
from memplan.planner_service.settings import Settings
from tests.clients.cli.tiny_model import build

FACTORY = "tests.clients.cli.tiny_model:build"
SEARCH = ["--time-limit", "3", "--workers", "1"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with graph, weights and plan of a training step."""
    folder = tmp_path_factory.mktemp("step")
    outputs = [
        *("-o", str(folder / "plan.json")),
        *("--graph-out", str(folder / "graph.json")),
        *("--weights-out", str(folder / "weights.safetensors")),
    ]
    assert main([FACTORY, "--budget", "16KB", "--batch", "4", *SEARCH, *outputs]) == 0
    return folder


def run_arguments(folder: Path) -> list[str]:
    files = [str(folder / "graph.json"), str(folder / "plan.json")]
    return ["run", *files, "--weights", str(folder / "weights.safetensors")]


def test_the_plan_is_accepted(folder: Path) -> None:
    assert main(["verify", str(folder / "graph.json"), str(folder / "plan.json")]) == 0
    report = memplan.verify(folder / "graph.json", folder / "plan.json")
    assert report.accepted
    names = {path.name for path in folder.iterdir()}
    assert names == {"plan.json", "graph.json", "weights.safetensors"}


@pytest.mark.parametrize("against", ["autograd", FACTORY])
def test_the_step_agrees(against: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*run_arguments(folder), "--against", against, "--debug", "--format", "json"]
    assert main(arguments) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["against"]["agrees"] is True
    assert outcome["arena_bytes"] <= 16 * 1024
    assert outcome["outside_peak_bytes"] > 0
    assert outcome["loss"] > 0


def test_the_step_says_what_happened(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*run_arguments(folder), "--against", "autograd", "--steps", "2"]) == 0
    text = capsys.readouterr().out
    assert "agrees with autograd" in text
    assert "2 times" in text
    assert "16,384 B" in text


def test_other_weights_differ_from_the_original(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = {
        name: value + 0.1 for name, value in load_file(folder / "weights.safetensors").items()
    }
    other = tmp_path / "other.safetensors"
    save_file(weights, other)
    files = [str(folder / "graph.json"), str(folder / "plan.json")]
    assert main(["run", *files, "--weights", str(other), "--against", FACTORY]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_named_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*run_arguments(folder), "--against", "nofile.pt2"]) == 3
    captured = capsys.readouterr()
    assert captured.err.startswith("error: nofile.pt2: there is no such file")
    assert captured.out == ""


def test_an_edited_plan_is_not_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    plan["totals"]["time_ns"] += 1
    edited = tmp_path / "plan.json"
    edited.write_text(json.dumps(plan))
    weights = str(folder / "weights.safetensors")
    assert main(["run", str(folder / "graph.json"), str(edited), "--weights", weights]) == 3
    assert "rejected" in capsys.readouterr().err


def test_samples_make_importance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "samples.npz"
    chance = np.random.default_rng(0)
    x = chance.normal(size=(5, 3, 12, 12)).astype("float32")
    np.savez(data, x=x, y=chance.integers(0, 4, 5))
    assert main(["trace", FACTORY, "--data", str(data), "--format", "json"]) == 0
    traced = json.loads(capsys.readouterr().out)
    assert traced["importance_samples"] == 5
    assert all(layer["fisher"] > 0 for layer in traced["layers"])
    np.savez(data, x=x * np.nan, y=np.zeros(5, dtype=int))
    assert main(["trace", FACTORY, "--data", str(data)]) == 3


def test_inference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("plan.json", "graph.json", "weights.safetensors")
    plan, graph, weights = (str(tmp_path / name) for name in names)
    outputs = ["-o", plan, "--graph-out", graph, "--weights-out", weights]
    assert main([FACTORY, "--mode", "infer", "--budget", "16KB", *SEARCH, *outputs]) == 0
    for against in ("autograd", FACTORY):
        assert main(["run", graph, plan, "--weights", weights, "--against", against]) == 0
    assert "agrees" in capsys.readouterr().out
    assert main([FACTORY, "--mode", "infer", "--loss", "mse", "--budget", "16KB"]) == 2
    assert main([FACTORY, "--mode", "infer", "--update", "full", "--budget", "16KB"]) == 2


def test_an_exported_program_on_the_command_line_and_in_the_service(tmp_path: Path) -> None:
    module, example = build()
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(module, (example,)), path)
    graph_file = tmp_path / "graph.json"
    assert main(["trace", str(path), "-o", str(graph_file), "--optimizer", "adam"]) == 0
    settings = {"mode": "train", "optimizer": "adam"}
    traced = asyncio.run(ChildWorker(Settings()).trace(path.read_bytes(), "net", settings))
    here, there = OpGraph.from_json(graph_file.read_text()), OpGraph.from_json(traced)
    assert len(here.operations) == len(there.operations)
    assert there.optimizer is not None
    assert there.optimizer.kind == "adam"


def test_what_a_loader_notes_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = pipeline.load_model
    note = "the batch is fixed at 2 (it is written into a view); export with dynamic_shapes"
    monkeypatch.setattr(
        pipeline,
        "load_model",
        lambda argument, inputs, trust: replace(load(argument, inputs, trust), notes=(note,)),
    )
    assert main(["trace", FACTORY, "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert f"note: {note}\n" in captured.err
    json.loads(captured.out)


def test_the_facade_takes_modules_and_graphs() -> None:
    module, example = build()
    graph = memplan.trace(module, example, batch=4)
    answer = memplan.plan(module, example, budget="16KB", batch=4, time_limit=3, workers=1)
    assert answer.plan is not None
    assert answer.plan.totals.arena_bytes <= 16 * 1024
    assert memplan.verify(graph, answer.plan).accepted
    small = memplan.plan(graph, budget=64, time_limit=3, workers=1)
    assert small.status == "infeasible"
    assert small.plan is None


def test_what_the_facade_refuses() -> None:
    module, example = build()
    with pytest.raises(RequestError, match="budget is missing"):
        memplan.plan(module, example)
    with pytest.raises(ModelError, match="example_inputs are missing"):
        memplan.plan(module, budget="1MB")
    graph = memplan.trace(module, example)
    with pytest.raises(RequestError, match="--optimizer adam contradicts"):
        memplan.plan(graph, budget="1MB", optimizer="adam")


def test_random_samples_are_seeded_and_in_range(folder: Path) -> None:
    graph = OpGraph.from_json((folder / "graph.json").read_text())
    first, again = random_inputs(graph, 64, seed=1), random_inputs(graph, 64, seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    labels = next(first[t.id] for t in graph.tensors if t.role == "label")
    assert labels.min() >= 0
    assert labels.max() == 3  # four classes, sixty-four draws


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"x": np.zeros((4, 3, 12, 12), "float32")}, "no array y"),
        (
            {"x": np.zeros((4, 3, 12, 12), "float32"), "y": np.array([0, 1, 2, 4])},
            r"y\[3\] is 4, but the model has 4 classes",
        ),
        ({"x": np.zeros((4, 3, 12, 12), "float32"), "y": np.zeros(4)}, "float64"),
        ({"x": np.zeros((4, 3, 12, 12), "uint8"), "y": np.zeros(4, int)}, "uint8"),
        ({"x": np.zeros((4, 12, 12, 3), "float32"), "y": np.zeros(4, int)}, "shape"),
        ({"x": np.zeros((5, 3, 12, 12), "float32"), "y": np.zeros(4, int)}, "y has 4 samples"),
        ({"x": np.zeros((1, 3, 12, 12), "float32"), "y": np.zeros(4, int)}, "1 samples"),
        ({"x": np.zeros((4, 3, 12, 11), "float32"), "y": np.zeros(4, int)}, "shape"),
        ({"z": np.zeros(4), "w": np.zeros(4), "y": np.zeros(4, int)}, "no array for input 'input'"),
    ],
)
def test_samples_that_do_not_fit(
    arrays: dict[str, Any], named: str, folder: Path, tmp_path: Path
) -> None:
    graph = OpGraph.from_json((folder / "graph.json").read_text())
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(DataError, match=named):
        inputs_of_file(graph, 4, tmp_path / "samples.npz")


def test_ignored_labels_need_the_whole_batch_at_once(folder: Path, tmp_path: Path) -> None:
    graph = OpGraph.from_json((folder / "graph.json").read_text())
    file = tmp_path / "samples.npz"
    np.savez(file, x=np.zeros((4, 3, 12, 12), "float32"), y=np.array([0, 1, -100, 3]))
    assert inputs_of_file(graph, 4, file, micro_batch=4)["labels"].tolist() == [0, 1, -100, 3]
    with pytest.raises(DataError, match="to be ignored, in sample 2"):
        inputs_of_file(graph, 4, file, micro_batch=2)


def test_a_loss_that_is_not_finite_is_no_difference(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    weights = {
        name: 100 * value for name, value in load_file(folder / "weights.safetensors").items()
    }
    large = tmp_path / "large.safetensors"
    save_file(weights, large)
    x = np.ones((4, 3, 12, 12), "float32")
    x[2] = 3e38
    np.savez(tmp_path / "samples.npz", x=x, y=np.zeros(4, int))
    files = [str(folder / "graph.json"), str(folder / "plan.json"), "--weights", str(large)]
    data = str(tmp_path / "samples.npz")
    assert main(["run", *files, "--data", data, "--against", "autograd"]) == 3
    error = capsys.readouterr().err
    assert "; the largest input is 3.0e+38, in sample 2" in error
    assert "Traceback" not in error
