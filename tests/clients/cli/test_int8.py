"""--quantize int8 from the command line to a compared step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import memplan
from memplan.clients.cli import main
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.planner_service.uploads import UploadForm, trace_settings
from memplan.tracing.settings import TraceSettings
from tests.clients.cli.tiny_model import build
from tests.support.int8_networks import Residual

FACTORY = "tests.clients.cli.test_int8:factory"
SEARCH = ["--time-limit", "3", "--workers", "1", "--batch", "2"]


def factory() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(3)
    return Residual().eval(), (torch.randn(2, 3, 8, 8),)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with samples, and graph, weights and plan of an int8 step."""
    folder = tmp_path_factory.mktemp("int8")
    random = np.random.default_rng(0)
    x = random.normal(0, 2, (6, 3, 8, 8)).astype("float32")
    np.savez(folder / "samples.npz", x=x, y=random.integers(0, 4, 6))
    outputs = [
        *("-o", str(folder / "plan.json")),
        *("--graph-out", str(folder / "graph.json")),
        *("--weights-out", str(folder / "weights.safetensors")),
        *("--data", str(folder / "samples.npz"), "--quantize", "int8", "--lr", "1"),
    ]
    assert main([FACTORY, "--budget", "64KB", "--update", "full", *SEARCH, *outputs]) == 0
    return folder


def test_the_graph_says_what_it_is(folder: Path) -> None:
    graph = OpGraph.from_json((folder / "graph.json").read_text())
    assert graph.quantization is not None
    assert graph.quantization.calibration_samples == 6
    assert graph.importance_samples == 6
    assert graph.quantization.quantization_aware_scaling
    weights = {tensor.id: tensor.dtype for tensor in graph.tensors if tensor.role == "parameter"}
    assert weights["wide.weight"] == "int8"
    assert weights["head.weight"] == "float32"
    assert all(layer.fisher is not None for layer in graph.layers)


@pytest.mark.parametrize("data", [True, False])
def test_a_planned_step_agrees_with_autograd(
    folder: Path, data: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / "graph.json"), str(folder / "plan.json")]
    more = ["--data", str(folder / "samples.npz")] if data else []
    arguments = ["run", *files, "--weights", str(folder / "weights.safetensors"), *more]
    assert main([*arguments, "--against", "autograd", "--debug", "--format", "json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["against"]
    assert verdict["agrees"]
    assert "bit for bit" in verdict["detail"]


def test_the_model_itself_computes_something_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(folder / "graph.json"), str(folder / "plan.json")]
    arguments = ["run", *files, "--weights", str(folder / "weights.safetensors")]
    assert main([*arguments, "--against", FACTORY]) == 2
    assert "another function than the model" in capsys.readouterr().err
    assert main([*arguments, "--against", "autograd", "--steps", "2"]) == 2
    assert "one step" in capsys.readouterr().err


def test_without_samples_ranges_are_a_guess_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", FACTORY, "--quantize", "int8", "--no-qas", "--format", "json"]) == 0
    output = capsys.readouterr()
    summary = json.loads(output.out)["quantization"]
    assert summary == {
        "scheme": "int8", "calibration_samples": 0, "quantization_aware_scaling": False
    }  # fmt: skip
    assert "so they are a guess" in output.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--qas"], "goes with --quantize int8"),
        (["--quantize", "int8", "--optimizer", "adam"], "use --optimizer sgd"),
        (["--quantize", "int8", "--batch-norm", "train"], "use --batch-norm frozen"),
    ],
)
def test_contradictions_are_usage_errors(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", FACTORY, *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_graph_file_has_its_own_arithmetic(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = str(folder / "graph.json")
    assert main([graph, "--budget", "64KB", "--quantize", "none", *SEARCH]) == 2
    assert "--quantize none contradicts" in capsys.readouterr().err
    assert main([graph, "--budget", "64KB", "--no-qas", *SEARCH]) == 2
    assert "--qas False contradicts" in capsys.readouterr().err


def test_from_python(folder: Path) -> None:
    module, example = build()
    graph = memplan.trace(module, example, quantize="int8", mode="infer")
    assert graph.quantization is not None
    with pytest.raises(RequestError, match="--qas"):
        memplan.trace(module, example, quantization_aware_scaling=True)


def test_the_service_has_the_field() -> None:
    fields = {"budget": "64KB", "quantize": "int8", "quantization_aware_scaling": False}
    form = UploadForm.model_validate(fields)
    settings = TraceSettings(**trace_settings(form))
    assert settings.quantize == "int8"
    assert not settings.quantization_aware_scaling
