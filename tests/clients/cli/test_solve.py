from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from memplan.clients import pipeline
from memplan.clients.cli import main
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from tests.support.answers import not_found


def test_flags_become_the_request(graph_file: Path, asked: list[PlanRequest]) -> None:
    flags = (
        "--budget 64KB --batch 8 --micro-batch 4 --update bias --criterion uniform "
        "--compute-limit none --computations 2 --time-limit 5 --seed 7 --workers 1 --stream-inputs"
    )
    assert main([str(graph_file), *flags.split()]) == 0
    assert asked == [
        PlanRequest(
            budget_bytes=65536,
            batch=8,
            micro_batch=4,
            update="bias",
            criterion="uniform",
            compute_limit=None,
            computations=2,
            time_limit_seconds=5.0,
            seed=7,
            workers=1,
            stream_inputs=True,
        )
    ]


def test_json_is_the_only_thing_on_stdout(
    graph_file: Path, asked: list[PlanRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(graph_file), "--budget", "1MB", "--format", "json"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["fits"] is True
    assert summary["budget_bytes"] == 2**20
    assert "solving" in captured.err


def test_the_plan_file_passes_the_checker(
    graph: OpGraph, graph_file: Path, asked: list[PlanRequest], tmp_path: Path
) -> None:
    plan_file, graph_copy = tmp_path / "plan.json", tmp_path / "copy.json"
    arguments = [str(graph_file), "--budget", "1MB", "-o", str(plan_file)]
    assert main([*arguments, "--graph-out", str(graph_copy)]) == 0
    assert check(graph, Plan.from_json(plan_file.read_text())).accepted
    assert OpGraph.from_json(graph_copy.read_text()) == graph
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "copy.json",
        "graph.json",
        "plan.json",
    ]


@pytest.mark.parametrize(("proved", "code"), [(True, 1), (False, 4)])
def test_no_plan_no_file(
    proved: bool,
    code: int,
    graph_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        pipeline,
        "solve",
        lambda graph, request, *rest: not_found(graph, request, proved=proved),
    )
    plan_file = tmp_path / "plan.json"
    assert main([str(graph_file), "--budget", "1KB", "-o", str(plan_file)]) == code
    captured = capsys.readouterr()
    assert not plan_file.exists()
    assert "was not written" in captured.err
    assert "--budget 1536" in captured.out  # the smallest that was found
    assert "a batch of one sample" in captured.out


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--mode", "infer"], "--mode infer"),
        (["--loss", "mse"], "--loss mse"),
        (["--target", "input"], "--target input"),
        (["--optimizer", "adam"], "--optimizer adam"),
        (["--lr", "0.5"], "--lr 0.5"),
        (["--batch-norm", "train"], "--batch-norm train"),
        (["--data", "samples.npz"], "--data"),
        (["--input", "1x3:float32"], "--input"),
        (["--weights-out", "weights.safetensors"], "--weights-out"),
    ],
)
def test_flags_that_contradict_a_graph_file(
    flags: list[str],
    named: str,
    graph_file: Path,
    asked: list[PlanRequest],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([str(graph_file), "--budget", "1MB", *flags]) == 2
    assert named in capsys.readouterr().err
    assert asked == []


def test_flags_that_agree_with_a_graph_file_are_fine(
    graph_file: Path, asked: list[PlanRequest]
) -> None:
    flags = ["--mode", "train", "--loss", "cross_entropy", "--optimizer", "sgd", "--lr", "0.1"]
    assert main([str(graph_file), "--budget", "1MB", *flags]) == 0


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[{]", "--update"),
        ('{"layer": "head"}', "--update"),
        ('[{"layer": "head", "weight": "sideways"}]', "--update"),
        ('[{"layer": "head"}]', "nothing is updated"),
        ('[{"layer": "head", "bias": true, "extra": 1}]', "extra"),
    ],
)
def test_bad_masks(
    content: str, named: str, graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.json"
    mask.write_text(content)
    assert main([str(graph_file), "--budget", "1MB", "--update", str(mask)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert named in error


def test_a_mask_file_reaches_the_request(
    graph_file: Path, tmp_path: Path, asked: list[PlanRequest]
) -> None:
    mask = tmp_path / "mask.json"
    mask.write_text('[{"layer": "head", "weight": "whole"}]')
    assert main([str(graph_file), "--budget", "1MB", "--update", str(mask)]) == 0
    update = asked[0].update
    assert isinstance(update, tuple)
    assert (update[0].layer, update[0].weight) == ("head", "whole")


def test_contributions_go_with_their_criterion(
    graph_file: Path, tmp_path: Path, asked: list[PlanRequest]
) -> None:
    table = tmp_path / "gains.json"
    table.write_text('{"head": 2, "stem": 0.5}')
    arguments = [str(graph_file), "--budget", "1MB", "--criterion", "contribution"]
    assert main([*arguments, "--contributions", str(table)]) == 0
    assert asked[0].contributions == {"head": 2.0, "stem": 0.5}
    assert main(arguments) == 2
    for bad in ('{"head": -1}', '{"head": NaN}', "[1]", '{"head": true}', "{"):
        table.write_text(bad)
        assert main([*arguments, "--contributions", str(table)]) == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch", "6", "--micro-batch", "4"],
        ["--micro-batch", "many"],
        ["--compute-limit", "-1"],
        ["--compute-limit", "nan"],
        ["--time-limit", "0"],
        ["--budget", "0"],
        ["-o", "missing/plan.json"],
    ],
)
def test_values_out_of_range(
    flags: list[str], graph_file: Path, asked: list[PlanRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(graph_file), "--budget", "1MB", *flags]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    assert asked == []


@pytest.mark.parametrize("content", ["{", '{"schema": "memplan.graph/1"}', "{" * 100_000])
def test_bad_graph_files(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    assert main([str(path), "--budget", "1MB"]) == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert "bad.json" in error


def test_a_missing_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.pt2", "--budget", "1MB"]) == 3
    assert "nowhere.pt2: there is no such file" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(graph_file: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main([str(graph_file), "--budget", "1MB", "-o", str(locked / "plan.json")]) == 2
