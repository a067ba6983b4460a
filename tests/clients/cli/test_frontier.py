from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from memplan.clients.cli import main
from memplan.ir.check.frontier import frontier_faults
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph

SEARCH = ["--update", "full", "--deterministic", "--time-limit", "1", "--workers", "1"]


def test_files_and_json(
    graph: OpGraph, graph_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, picture, document = tmp_path / "plans", tmp_path / "f.svg", tmp_path / "f.json"
    folder.mkdir()
    files = ["--plans", str(folder), "--svg", str(picture), "-o", str(document)]
    arguments = ["frontier", str(graph_file), "--budgets", "1KB,24KB,1MB", *SEARCH, *files]
    assert main([*arguments, "--format", "json"]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert [point["budget_bytes"] for point in summary["points"]] == [1024, 24_576, 1_048_576]
    assert [point["fits"] for point in summary["points"]] == [False, True, True]
    assert "budget 24.0 KB, search " in captured.err
    found = Frontier.from_json(document.read_text())
    assert frontier_faults(graph, found) == []
    assert sorted(path.name for path in folder.iterdir()) == [
        "plan-1048576.json",
        "plan-24576.json",
    ]
    assert main(["verify", str(graph_file), str(folder / "plan-24576.json")]) == 0
    assert main(["verify", str(graph_file), str(document)]) == 0
    assert "3 budgets, 2 with a plan" in capsys.readouterr().out
    values = json.loads(document.read_text())
    values["points"][2]["answer"]["plan"]["totals"]["macs"] += 1
    document.write_text(json.dumps(values))
    assert main(["verify", str(graph_file), str(document), "--format", "json"]) == 1
    assert "totals" in json.loads(capsys.readouterr().out)["fault"]
    document.write_text(document.read_text()[:2000])
    assert main(["verify", str(graph_file), str(document)]) == 3
    drawn = ElementTree.fromstring(picture.read_text())
    circles = drawn.findall(".//{http://www.w3.org/2000/svg}circle")
    assert [circle.get("class") for circle in circles].count("point") == 2
    assert [circle.get("class") for circle in circles].count("none") == 1


def test_the_table_has_a_line_per_budget(
    graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", str(graph_file), "--budgets", "3", *SEARCH]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("chain · 3 budgets, 3 with a plan")
    assert max(len(line) for line in lines) <= 80
    assert sum(" of 2 " in line for line in lines) == 3


def test_exit_codes_without_a_plan(graph_file: Path) -> None:
    assert main(["frontier", str(graph_file), "--budgets", "1KB,2KB", *SEARCH]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budgets", "many"], "--budgets many"),
        (["--budgets", "0"], "--budgets 0 budgets: write how many, at least 1"),
        (["--budgets", "1KB,,2KB"], "--budgets 1KB,,2KB"),
        (["--plans", "/nowhere/at/all"], "there is no such folder"),
        (["--time-limit", "0"], "--time-limit"),
    ],
)
def test_usage_errors(
    arguments: list[str], words: str, graph_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", str(graph_file), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.out == ""


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frontier", "--help"]) == 0
    text = capsys.readouterr().out
    assert "more bytes never cost more" in " ".join(text.replace("│", " ").split())
