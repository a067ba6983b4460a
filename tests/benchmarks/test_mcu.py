"""The table of boards: its figures, and the reasons for which a row fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import mcu
from benchmarks.mcu_case import CASES, Case
from benchmarks.mcu_prepare import HostFacts, prepare
from benchmarks.mcu_table import Row, explain, row_of, section
from benchmarks.published_schemes import Scheme
from memplan.clients.executors.c.device import build_program, run_program
from memplan.clients.executors.c.device_tools import missing_packages
from tests.clients.executors.c.hand_project import hand_batches, hand_project

needs_boards = pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)
ROW = Row(
    case="net-streamed",
    image="streamed",
    board="mps3-an547",
    strict=True,
    ram_bytes=262_144,
    ram_used_bytes=261_280,
    arena_bytes=258_600,
    parameter_bytes=17_576,
    static_bytes=64,
    stack_bytes=1536,
    stack_high_water_bytes=476,
    code_bytes=26_720,
    weight_bytes=313_132,
    step_instructions=(300_000_000, 400_000_000),
    macs=50_000_000,
    ram_start=0x30000000,
    highest_address=0x3003FC9F,
    merges=3,
    agrees_with_host=True,
    torch_error=1e-6,
    failures=(),
)


def cells_of(row: Row) -> dict[str, str]:
    """Return the cells of the section's two tables, by the words above them."""
    cells: dict[str, str] = {}
    tables = section([row], "make mcu").split("\n\n")
    for table in (part for part in tables if part.startswith("|")):
        header, _, line = table.strip().splitlines()
        columns = ([cell.strip() for cell in text.split("|")] for text in (header, line))
        cells.update(zip(*columns, strict=True))
    return cells


@needs_boards
def test_a_row_shows_every_figure() -> None:
    cells = cells_of(ROW)
    assert (cells["case"], cells["core"], cells["image"]) == ("net", "M55 strict", "streamed")
    assert cells["RAM used"] == "261,280" and cells["of"] == "262,144"
    assert cells["arena"] == "258,600" and cells["parameters in it"] == "17,576"
    assert cells["stack, reserved"] == "1,536" and cells["used"] == "476"
    assert cells[".data, .bss"] == "64" and cells["highest touched"] == "0x3003fc9f"
    assert cells["code"] == "26,720" and cells["weights in flash"] == "313,132"
    assert cells["instructions a step"] == "700,000,000" and cells["per MAC"] == "14.0"
    assert cells["MPU merges"] == "3"
    assert cells["= host"] == "all bits" and cells["from torch"] == "1.0e-06"
    assert cells["verdict"] == "ok"


@needs_boards
def test_a_row_says_where_it_fails() -> None:
    cells = cells_of(replace(ROW, agrees_with_host=False, failures=("why",)))
    assert cells["= host"] == "DIFFERS" and cells["verdict"] == "FAILED"


def test_without_tools_it_names_the_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mcu, "missing_packages", lambda: ("qemu-system-arm", "gcc-arm-none-eabi"))
    assert mcu.main([]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt-get install --no-install-recommends qemu-system-arm gcc-arm-none-eabi" in said


def test_unknown_networks_and_boards_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--cases", "--boards"):
        with pytest.raises(SystemExit):
            mcu.main([flag, "nothing"])
        assert "'nothing' is not known; take some of" in capsys.readouterr().err


def test_no_budget_is_larger_than_its_target() -> None:
    targets = {
        "mbv2-w0.35": 141,
        "mbv2-w0.35-streamed": 120,
        "proxyless-w0.3": 135,
        "proxyless-w0.3-streamed": 118,
        "mcunet-5fps": 150,
        "mcunet-5fps-streamed": 128,
        "resnet8": 256,
    }
    assert [case.name for case in CASES] == list(targets)
    assert all(case.ram_bytes <= targets[case.name] * 1024 for case in CASES)


@needs_boards
def test_a_case_becomes_a_row(tmp_path: Path) -> None:
    case = Case(
        "tiny-streamed",
        "tests.benchmarks.mcu_network:tiny",
        ram_bytes=12_288,
        scheme=Scheme("tiny", "hand-made", biases=1, weights=((2, 0.5),)),
        image="streamed",
        seconds=0.5,
    )
    told: list[str] = []
    prepared = prepare(case, tmp_path, 2, told.append)
    assert prepared.host.differing == () and prepared.host.changed > 0
    assert [update.layer for update in prepared.plan.mask] == ["4", "7"]
    row = row_of(prepared, "mps3-an547")
    assert row.failures == () and row.agrees_with_host
    assert row.ram_used_bytes <= row.ram_bytes == case.ram_bytes
    # The image alone would take all of it.
    assert all(buffer.tensor != "input" for buffer in prepared.plan.buffers)
    assert len(told) == 2


@needs_boards
def test_each_fault_of_a_run_is_a_reason(tmp_path: Path) -> None:
    program = build_program(hand_project(tmp_path), "mps2-an500", 8192, stack_bytes=1024)
    run = run_program(program, hand_batches(1))
    trace = run.trace
    assert trace is not None
    case, host = Case("hand", "none", ram_bytes=8192), HostFacts(run.results, 0.0, 0.0, 0.5)
    assert explain(case, run, trace, host) == ()

    beyond = replace(trace, highest_address=0x20002000)
    assert "RAM ends at 0x20002000" in explain(case, run, beyond, host)[0]
    outside = replace(trace, outside_accesses=2, first_outside_address=16)
    assert (
        "2 accesses outside of the budget, the first at 0x10"
        in explain(case, run, outside, host)[0]
    )
    full = replace(run, stack_high_water_bytes=1024)
    assert "all 1,024 B of its stack" in explain(case, full, trace, host)[0]
    for changed, reason in (
        ({"results": b""}, "other bits"),
        ({"update_error": 1.0}, "away from the torch executor"),
        ({"loss_error": float("nan")}, "away from the torch executor"),
        ({"changed": 0.0}, "changes no parameter"),
        ({"differing": ("unshared",)}, "other bits as unshared"),
    ):
        assert reason in explain(case, run, trace, replace(host, **changed))[0]
    smaller = replace(case, ram_bytes=4096)
    assert "of 4,096 B of RAM" in explain(smaller, run, trace, host)[0]
