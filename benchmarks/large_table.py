"""The section on large graphs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from benchmarks.comparison import Figures, verdict
from benchmarks.machine import describe_machine, versions
from benchmarks.table import markdown_table

__all__ = ["Line", "section"]


class Line(BaseModel):
    """One step at one budget, in both ways: a line of the table, and one of the cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    #: Budget as a part of what the step takes unplanned.
    part: float
    budget_bytes: int
    #: Of the graph; a plan takes those that its micro-batch and mask need.
    operations: int
    steps: int
    sequential: Figures
    ours: Figures
    status: str
    #: Per level of the objective.
    gaps: dict[str, float | None]
    seconds_limit: float
    workers: int
    commit: str
    tracing_seconds: float = 0.0

    @property
    def key(self) -> tuple[str, float, float]:
        """What was measured."""
        return self.name, self.part, self.seconds_limit


_SECTION = """\
## Large graphs

**Against choosing one after the other: {summary}.**

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s for each solve, {workers} workers, seed 0 |

Training steps of transformers with 12 and 24 layers (batch 8, 128 tokens, width 192, 4 heads,
2,000 words): examples/causal_transformer.py, the encoder of examples/bert.py, and GPT-2 of the
package `transformers` from a configuration. Everything is updated, by SGD where nothing else is
said; with an open mask the planner chooses what. Budgets are parts of what the step takes
unplanned. *Operations* are those of the graph, *steps* those of the plan. *Time* is the analytic
time of the step with its gap to the proven bound, *solve* the seconds of both ways, `ir.check`
included; *trace* those from the module to the graph. Every plan has passed the checker. The
sequential way is `benchmarks/sequential.py` with the same time limit: mask by an estimate, then
the schedule, then the addresses of the fastest one. Its schedules come from the same greedy runs
as ours, so where the mask is given it seldom differs by much. A difference of less than 1 % in
time or importance is a tie; by however little, ours is worse than the sequential one in {worse}
lines (importance, then time, then bytes). Tracing and planning took {longest} s together at most.
Seconds are by the clock.

{table}

### The checker

Layered inferences with recomputation (`benchmarks.planners.instances.layered`, one greedy run
at 0.7 of the plain peak); CPU seconds of `ir.check.check` and of reading the plan from JSON.

{checker}
"""


def section(lines: Sequence[Line], checker: str, command: str) -> str:
    """Return the section with the table."""
    words = [verdict(line.ours, line.sequential) for line in lines]
    counts = f"{words.count('win')} wins, {words.count('tie')} ties, {words.count('loss')} losses"
    worse = sum(_is_worse(line.ours, line.sequential) for line in lines)
    longest = max((line.tracing_seconds + line.ours.seconds for line in lines), default=0.0)
    return _SECTION.format(
        summary=counts,
        worse=f"{worse} of {len(lines)}",
        longest=f"{longest:.0f}",
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(dict.fromkeys(line.commit for line in lines)),
        machine=describe_machine(),
        versions=versions(),
        seconds=max((line.seconds_limit for line in lines), default=0.0),
        workers=max((line.workers for line in lines), default=0),
        table=markdown_table(
            (
                "step", "operations", "budget", "sequential", "time", "ours", "time", "gap",
                "steps", "trace s", "solve s (seq. / ours)", "verdict",
            ),
            [_row(line) for line in lines],
        ),
        checker=checker,
    )  # fmt: skip


def _is_worse(ours: Figures, sequential: Figures) -> bool:
    """Tell whether the sequential plan is better on the first level on which they differ."""
    if not (ours.fits and sequential.fits):
        return sequential.fits and not ours.fits
    mine, theirs = (
        (-plan.importance, plan.time_ns, plan.arena_bytes) for plan in (ours, sequential)
    )
    return theirs < mine


def _row(line: Line) -> list[str]:
    gap = line.gaps.get("time_ns")
    return [
        line.name,
        f"{line.operations:,}",
        f"{line.budget_bytes / 2**20:,.1f} MB ({line.part:g})",
        *_cells(line.sequential),
        *_cells(line.ours),
        "?" if gap is None else f"{100 * gap:.2f} %",
        f"{line.steps:,}",
        f"{line.tracing_seconds:.0f}",
        f"{line.sequential.seconds:.0f} / {line.ours.seconds:.0f}",
        verdict(line.ours, line.sequential),
    ]


def _cells(figures: Figures) -> list[str]:
    if not figures.fits:
        return ["no plan", "-"]
    arena = f"{figures.arena_bytes / 2**20:,.1f} MB"
    if figures.importance_ratio < 1:
        arena += f", {100 * figures.importance_ratio:.2f} % of importance"
    return [arena, f"{figures.time_ns / 1e6:,.1f} ms"]
