from __future__ import annotations

import io

import pytest
from rich.console import Console

from memplan.clients.cli.progress import Reporter
from memplan.solver.progress import LevelName, Progress


def test_piped_progress_is_a_line_per_stage() -> None:
    file = io.StringIO()
    with Reporter(Console(file=file, width=80)) as reporter:
        reporter.stage("tracing")
        for second in range(3):
            reporter.solving(Progress("joint", float(second), 2048, 7_200_000))
        reporter.solving(Progress("packing", 3.0, lower_bound_bytes=1024))
    lines = file.getvalue().splitlines()
    assert [line.split("s  ")[1].split("  ")[0] for line in lines] == [
        "tracing",
        "joint",
        "packing",
    ]
    assert lines[1].endswith("plan 2.0 KB, 7.2 ms")
    assert lines[2].endswith("no plan yet, none below 1.0 KB")


@pytest.mark.parametrize(
    ("level", "bound", "text"),
    [
        ("importance", 600_000, "importance: at most 60.0 %, gap 20.0 %"),
        ("time_ns", 5_760_000, "time: at least 5.76 ms, gap 20.0 %"),
        ("arena_bytes", 1639, "bytes: at least 1.6 KB, gap 20.0 %"),
        ("time_ns", None, "time: no bound"),
    ],
)
def test_the_level_that_is_improved_is_shown_with_bound_and_gap(
    level: LevelName, bound: int | None, text: str
) -> None:
    file = io.StringIO()
    with Reporter(Console(file=file, width=80)) as reporter:
        gap = None if bound is None else 0.2
        reporter.solving(Progress("joint", 1.0, 2048, 7_200_000, 500_000, 64, level, bound, gap))
    assert file.getvalue().rstrip().endswith(f"plan 2.0 KB, importance 50.0 %, 7.2 ms; {text}")


def test_a_terminal_gets_one_live_line_that_goes_away() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True)
    with Reporter(console) as reporter:
        reporter.solving(Progress("a stage with a long name", 0.0, 10**6, gap=0.5))
        assert console.measure(reporter).maximum <= 38
    assert file.getvalue().endswith("\x1b[2K")
