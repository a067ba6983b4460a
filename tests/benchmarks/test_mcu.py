"""The table of boards: its figures, and the reasons for which a row fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import mcu
from benchmarks.mcu_case import CASES, Case
from benchmarks.mcu_table import Row, explain, table
from memplan.clients.executors.c.device import build_program, run_program
from memplan.clients.executors.c.device_tools import missing_packages
from tests.clients.executors.c.hand_project import hand_batches, hand_project

ROW = Row(
    network="net",
    board="mps3-an547",
    strict=True,
    ram_bytes=262_144,
    ram_used_bytes=261_280,
    arena_bytes=258_600,
    parameter_bytes=17_576,
    static_bytes=608,
    stack_high_water_bytes=476,
    code_bytes=26_720,
    weight_bytes=313_132,
    step_instructions=(300_000_000, 400_000_000),
    macs=50_000_000,
    ram_start=0x30000000,
    highest_address=0x3003FC9F,
    merges=0,
    agrees_with_host=True,
    torch_error=1e-6,
    failures=(),
)


def test_a_row_shows_every_figure() -> None:
    header, _, line = table([ROW]).splitlines()
    cells = dict(
        zip(
            (cell.strip() for cell in header.split("|")),
            (cell.strip() for cell in line.split("|")),
            strict=True,
        )
    )
    assert cells["board"] == "mps3-an547 M55 strict"
    assert cells["RAM used"] == "261,280" and cells["of"] == "262,144"
    assert cells["arena"] == "258,600" and cells["params in it"] == "17,576"
    assert cells["stack peak"] == "476" and cells[".data+.bss"] == "608"
    assert cells["code"] == "26,720" and cells["weights"] == "313,132"
    assert cells["instructions"] == "700,000,000" and cells["per MAC"] == "14.0"
    assert cells["highest"] == "0x3003fc9f"
    assert cells["= host"] == "all bits" and cells["torch error"] == "1.0e-06"
    assert cells["verdict"] == "ok"


def test_a_row_says_where_it_fails() -> None:
    text = table([replace(ROW, merges=3, agrees_with_host=False, failures=("why",))])
    assert "3 merged" in text and "DIFFERS" in text and "FAILED" in text


def test_without_tools_it_names_the_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mcu, "missing_packages", lambda: ("qemu-system-arm", "gcc-arm-none-eabi"))
    assert mcu.main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt-get install --no-install-recommends qemu-system-arm gcc-arm-none-eabi" in said


def test_unknown_networks_and_boards_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--networks", "--boards"):
        with pytest.raises(SystemExit):
            mcu.main([flag, "nothing"])
        assert "'nothing' is not known; take some of" in capsys.readouterr().err


def test_the_budget_of_the_first_row_is_256_kilobytes() -> None:
    assert CASES[0].network == "resnet8" and CASES[0].ram_bytes == 256 * 1024


@pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)
def test_each_fault_of_a_run_is_a_reason(tmp_path: Path) -> None:
    program = build_program(hand_project(tmp_path), "mps2-an500", 8192, stack_bytes=1024)
    run = run_program(program, hand_batches(1))
    case = Case("hand", "none", ram_bytes=8192)
    assert run.trace is not None
    assert explain(case, run, run.trace, True, 0.0) == ()

    beyond = replace(run.trace, highest_address=0x20002000)
    assert "RAM ends at 0x20002000" in explain(case, run, beyond, True, 0.0)[0]
    outside = replace(run.trace, outside_accesses=2, first_outside_address=16)
    assert (
        "2 accesses outside of the budget, the first at 0x10"
        in (explain(case, run, outside, True, 0.0)[0])
    )
    full = replace(run, stack_high_water_bytes=1024)
    assert "all 1,024 B of its stack" in explain(case, full, run.trace, True, 0.0)[0]
    assert "other bits" in explain(case, run, run.trace, False, 0.0)[0]
    assert "away from the torch executor" in explain(case, run, run.trace, True, 1.0)[0]
    assert "away from the torch executor" in explain(case, run, run.trace, True, float("nan"))[0]
    smaller = Case("hand", "none", ram_bytes=4096)
    assert "of 4,096 B of RAM" in explain(smaller, run, run.trace, True, 0.0)[0]
