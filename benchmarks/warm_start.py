"""Planning again after a small change of the budget: from a stored plan, against from nothing.

    python -m benchmarks.warm_start [--examples resnet8,unet] [--seconds 30]

Every example is planned once; its plan is stored.  Then the budget changes by -10 to +10 %, and is
planned from nothing (*cold*) and from the stored plan (*warm*, ``solve(..., start=plan)``), with
the same time limit and seed.  Both end by themselves.  A warm plan is *as good* if it updates at
least as much importance, to 0.1 %, and at the same importance takes no more time, to 0.1 %.  CPU
seconds are compared, which the load of the machine changes least, beside seconds of the clock.
Lines are kept in ``build/`` as they are measured; the table is written from all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict

from benchmarks.joint_vs_sequential import trace_example
from benchmarks.machine import commit, describe_machine, versions
from benchmarks.sections import write_section
from benchmarks.table import markdown_table
from examples.catalogue import EXAMPLES, example
from memplan.ir.baseline import baseline_bytes
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import solve
from memplan.solver.local_search import prepare

__all__ = ["Attempt", "Replanning", "as_good", "main", "replan", "section"]

CHANGES = (-0.10, -0.05, -0.02, 0.02, 0.05, 0.10)
TOLERANCE = 1e-3
TARGET = 0.2
#: Example, update, and the budget as a part of the plain step's bytes.
CASES = (
    ("resnet8", "auto", 0.25),
    ("unet", "auto", 0.3),
    ("resnet18", "auto", 0.3),
    ("mbv2-w0.35", "auto", 0.2),
    ("bert-mini", "auto", 0.3),
    ("unet", "full", 0.6),
    ("bert-mini", "full", 0.75),
    ("resnet18", "full", 0.8),
)

_SECTION = """\
## Planning again from a stored plan

**{summary}**

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s {clock} for each solve, {workers} workers, seed {seed} |

One plan of each example is stored. The budget then changes by so many per cent, and is planned
from nothing (*cold*) and from the stored plan (*warm*, `--start`). Both end by themselves. *As
good*: at least as much importance, to {tolerance:g} %, and at equal importance no more time, to
{tolerance:g} %. *CPU* is warm / cold in CPU seconds, which the load of the machine changes least;
*clock* the same by the wall. A cold search that proves its plan ends early too, so there is less to
gain there. Every plan has passed the checker.

{table}
"""


class Attempt(BaseModel):
    """One answer, and what it took."""

    model_config = ConfigDict(frozen=True)

    importance: int | None
    time_ns: int | None
    arena_bytes: int | None
    cpu_seconds: float
    seconds: float


class Replanning(BaseModel):
    """Both ways at one changed budget."""

    model_config = ConfigDict(frozen=True)

    example: str
    update: str
    change: float
    budget_bytes: int
    cold: Attempt
    warm: Attempt
    seconds_limit: float
    seed: int
    workers: int
    deterministic: bool = False
    commit: str


def as_good(warm: Attempt, cold: Attempt) -> bool:
    """Tell whether the warm plan is as good as the cold one, to the tolerance."""
    if cold.importance is None or cold.time_ns is None:
        return True
    if warm.importance is None or warm.time_ns is None:
        return False
    if warm.importance < cold.importance * (1 - TOLERANCE):
        return False
    return warm.importance != cold.importance or warm.time_ns <= cold.time_ns * (1 + TOLERANCE)


def replan(
    name: str, update: str, graph: OpGraph, fraction: float, asked: PlanRequest
) -> list[Replanning]:
    """Return both ways at every change of the budget; none where there is no plan to store."""
    prepare()
    budget = int(fraction * baseline_bytes(graph, graph.traced_batch))
    stored, _ = _attempt(graph, asked.model_copy(update={"budget_bytes": budget}), None)
    if stored is None:
        return []
    results = []
    for change in CHANGES:
        changed = asked.model_copy(update={"budget_bytes": int(budget * (1 + change))})
        _, cold = _attempt(graph, changed, None)
        _, warm = _attempt(graph, changed, stored)
        results.append(
            Replanning(
                example=name,
                update=update,
                change=change,
                budget_bytes=changed.budget_bytes,
                cold=cold,
                warm=warm,
                seconds_limit=asked.time_limit_seconds,
                seed=asked.seed,
                workers=asked.workers,
                deterministic=asked.deterministic,
                commit=commit(),
            )
        )
    return results


def _attempt(
    graph: OpGraph, request: PlanRequest, start: Plan | None
) -> tuple[Plan | None, Attempt]:
    began, cpu = time.monotonic(), time.process_time()
    plan = solve(graph, request, start=start).plan
    totals = None if plan is None else plan.totals
    return plan, Attempt(
        importance=None if totals is None else totals.importance,
        time_ns=None if totals is None else totals.time_ns,
        arena_bytes=None if totals is None else totals.arena_bytes,
        cpu_seconds=round(time.process_time() - cpu, 2),
        seconds=round(time.monotonic() - began, 2),
    )


def section(rows: Sequence[Replanning], command: str) -> str:
    """Return the section with the table."""
    settings = {(row.seconds_limit, row.workers, row.seed) for row in rows}
    seconds, workers, seed = max(settings, default=(0.0, 0, 0))
    return _SECTION.format(
        summary=_summary(rows),
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(dict.fromkeys(row.commit for row in rows)),
        machine=describe_machine(),
        versions=versions(),
        seconds=seconds,
        clock="of work" if any(row.deterministic for row in rows) else "by the clock",
        workers=workers,
        seed=seed,
        tolerance=100 * TOLERANCE,
        table=markdown_table(_HEADER, [_cells(row) for row in rows], left=2),
    )


_HEADER = (
    "example",
    "update",
    "budget",
    "cold importance",
    "time",
    "warm importance",
    "time",
    "as good",
    "CPU",
    "clock",
    "seconds (cold / warm)",
)


def _cells(row: Replanning) -> list[str]:
    cold, warm = row.cold, row.warm
    return [
        row.example,
        row.update,
        f"{100 * row.change:+.0f} %",
        *_worth(cold),
        *_worth(warm),
        "yes" if as_good(warm, cold) else "no",
        f"{100 * warm.cpu_seconds / max(0.01, cold.cpu_seconds):.0f} %",
        f"{100 * warm.seconds / max(0.01, cold.seconds):.0f} %",
        f"{cold.seconds:.1f} / {warm.seconds:.1f}",
    ]


def _worth(attempt: Attempt) -> list[str]:
    if attempt.importance is None or attempt.time_ns is None:
        return ["does not fit", "-"]
    return [f"{attempt.importance / 1e4:.2f} %", f"{attempt.time_ns / 1e6:,.2f} ms"]


def _summary(rows: Sequence[Replanning]) -> str:
    if not rows:
        return "Nothing was measured."
    good = [row for row in rows if as_good(row.warm, row.cold)]
    shares = [row.warm.cpu_seconds / max(0.01, row.cold.cpu_seconds) for row in rows]
    quick = sum(share < TARGET for share in shares)
    both = sum(row.warm.cpu_seconds < TARGET * row.cold.cpu_seconds for row in good)
    return (
        f"The warm plan is as good in {len(good)} of {len(rows)} cases, and takes less than "
        f"{100 * TARGET:.0f} % of the cold CPU time in {quick}, both in {both}; the median is "
        f"{100 * median(shares):.0f} %."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, and write the table."""
    options = _parser().parse_args(arguments)
    known = _read(options.cache, options)
    for name, update, fraction in CASES:
        if options.examples and name not in options.examples:
            continue
        if (name, update, CHANGES[-1]) in known:
            continue
        print(f"{name} --update {update}", file=sys.stderr)
        graph = trace_example(example(name))
        asked = PlanRequest(
            budget_bytes=1,
            batch=graph.traced_batch,
            update=update,  # type: ignore[arg-type]
            time_limit_seconds=options.seconds,
            seed=options.seed,
            workers=options.workers,
            deterministic=options.deterministic,
        )
        options.cache.parent.mkdir(parents=True, exist_ok=True)
        for row in replan(name, update, graph, fraction, asked):
            known[row.example, row.update, row.change] = row
            with options.cache.open("a") as file:
                file.write(row.model_dump_json() + "\n")
    rows = [
        known[name, update, change]
        for name, update, _ in CASES
        for change in CHANGES
        if (name, update, change) in known
    ]
    command = shlex.join(["python", "-m", "benchmarks.warm_start", *(arguments or sys.argv[1:])])
    write_section(options.output, "warm-start", section(rows, command))
    print(f"{_summary(rows)} -> {options.output}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="warm_start", description=__doc__.split("\n")[0])
    names = sorted({name for name, _, _ in CASES} & {entry.name for entry in EXAMPLES})
    parser.add_argument(
        "--examples", type=lambda text: text.split(","), help=f"of {', '.join(names)}"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of each solve")
    parser.add_argument(
        "--deterministic", action="store_true", help="count work and not the clock (a busy machine)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/warm_start.jsonl"))
    return parser


def _read(path: Path, options: argparse.Namespace) -> dict[tuple[str, str, float], Replanning]:
    """Return the lines of the cache that were measured with the same settings."""
    if not path.is_file():
        return {}
    lines = [Replanning.model_validate_json(line) for line in path.read_text().splitlines() if line]
    settings = (options.seconds, options.seed, options.workers, options.deterministic)
    return {
        (row.example, row.update, row.change): row
        for row in lines
        if (row.seconds_limit, row.seed, row.workers, row.deterministic) == settings
    }


if __name__ == "__main__":
    sys.exit(main())
