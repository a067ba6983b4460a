"""``plan export`` from files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import save_file

from memplan.clients.cli import main
from tests.clients.executors.c.projects import with_kernels
from tests.clients.executors.training import full_mask, random_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with graph, plan and weights, and another graph."""
    model = with_kernels("plain_cnn")
    plan = random_plan(model.graph, 2, 1, full_mask(model.graph), 1)
    certificate = plan.certificate.model_copy(update={"graph_hash": model.graph.content_hash()})
    plan = plan.model_copy(update={"certificate": certificate})
    (tmp_path / "plan.json").write_text(plan.to_json())
    (tmp_path / "the graph.json").write_text(model.graph.to_json())
    other = model.graph.model_copy(update={"name": "another"})
    (tmp_path / "a.json").write_text(other.to_json())
    (tmp_path / "broken.json").write_text('{"schema": "memplan.graph/1"}')
    save_file(dict(model.weights), tmp_path / "weights.safetensors")
    return tmp_path


@pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)
def test_a_plan_alone_is_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "project"
    assert main(["export", str(folder / "plan.json"), "--to", "c", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "a training step of a batch of 2 in 2 trips of 1" in printed
    assert "make -C" in printed
    made = subprocess.run(
        ["make", "-C", str(out), "-s", "run"], capture_output=True, text=True, check=True
    )
    assert made.stdout.startswith("batch 0: loss ")
    assert (out / "build" / "results.bin").stat().st_size > 4


def test_a_graph_may_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / "the graph.json"), str(folder / "plan.json")]
    assert main(["export", *files, "-o", str(folder / "p"), "--format", "json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kernels"] and "plan.c" in summary["files"]
    plan = str(folder / "plan.json")
    graph = ["--graph", str(folder / "the graph.json")]
    assert main(["export", plan, *graph, "-o", str(folder / "p"), "--force"]) == 0


def test_what_is_missing_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(folder / "plan.json"), "-o", str(folder / "p")]
    (folder / "weights.safetensors").rename(folder / "other")
    assert main(command) == 2
    assert "--weights" in capsys.readouterr().err
    (folder / "the graph.json").unlink()
    assert main(command) == 2
    assert "--graph" in capsys.readouterr().err
    assert not (folder / "p").exists()


def test_a_rejected_plan_is_not_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    plan["totals"]["macs"] += 1
    (folder / "plan.json").write_text(json.dumps(plan))
    assert main(["export", str(folder / "plan.json"), "-o", str(folder / "p")]) == 3
    assert "rejected" in capsys.readouterr().err
    assert not (folder / "p").exists()


def test_a_full_folder_is_refused_before_anything_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "no-plan.json", "-o", str(folder)]) == 2
    assert "not empty" in capsys.readouterr().err
