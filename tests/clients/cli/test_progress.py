from __future__ import annotations

import io

from rich.console import Console

from memplan.clients.cli.progress import Reporter
from memplan.solver.progress import Progress


def test_piped_progress_is_a_line_per_stage() -> None:
    file = io.StringIO()
    with Reporter(Console(file=file, width=80)) as reporter:
        reporter.stage("tracing")
        for second in range(3):
            reporter.solving(Progress("joint", float(second), arena_bytes=2048, gap=0.25))
        reporter.solving(Progress("packing", 3.0, lower_bound_bytes=1024, importance=500_000))
    lines = file.getvalue().splitlines()
    assert [line.split("s  ")[1].split("  ")[0] for line in lines] == [
        "tracing",
        "joint",
        "packing",
    ]
    assert lines[1].endswith("plan 2.0 KB, gap 25.0 %")
    assert lines[2].endswith("bound 1.0 KB, importance 50.0 %")


def test_a_terminal_gets_one_live_line_that_goes_away() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True)
    with Reporter(console) as reporter:
        reporter.solving(Progress("a stage with a long name", 0.0, 10**6, gap=0.5))
        assert console.measure(reporter).maximum <= 38
    assert file.getvalue().endswith("\x1b[2K")
