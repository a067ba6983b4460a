"""Planning again after a small change of budget: from a stored plan, against from nothing.

    python -m benchmarks.warm_start [--cases chain-40,unet-full] [--seconds 12]

Every case is planned once; its plan is stored.  Then the budget changes by -10 to +10 %, and is
planned from nothing (*cold*) and from the stored plan (*warm*, ``solve(..., start=plan)``), with
the same time limit and seed.  Both end by themselves.  A warm plan is *as good* if it updates at
least as much importance, to 0.5 %, and at the same importance takes no more time, to 0.5 %.  CPU
seconds are compared, which the load of the machine changes least, beside seconds of the clock.
Each solve has one worker; ``--jobs`` cases run side by side.  Lines are kept in ``build/`` as they
are measured, so a run that was ended goes on; the section is written from all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.machine import commit
from benchmarks.sections import write_section
from benchmarks.warm_start_cases import CASES
from benchmarks.warm_start_table import section, summary
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import prepare, solve

__all__ = ["Attempt", "Replanning", "main", "replan"]

CHANGES = (-0.10, -0.05, -0.02, 0.02, 0.05, 0.10)


class Attempt(BaseModel):
    """One answer, and what it took."""

    model_config = ConfigDict(frozen=True)

    status: str
    importance: int | None = None
    time_ns: int | None = None
    arena_bytes: int | None = None
    cpu_seconds: float
    seconds: float


class Settings(BaseModel):
    """What all solves of a run have in common."""

    model_config = ConfigDict(frozen=True)

    seconds: float = 12.0
    seed: int = 0
    deterministic: bool = False
    jobs: int = 2


class Replanning(BaseModel):
    """Both ways at one changed budget."""

    model_config = ConfigDict(frozen=True)

    case: str
    change: float
    budget_bytes: int
    stored: Attempt
    cold: Attempt
    warm: Attempt
    settings: Settings
    commit: str


def replan(name: str, graph: OpGraph, asked: PlanRequest, settings: Settings) -> list[Replanning]:
    """Return both ways at every change of the budget; none where there is no plan to store.

    Args:
        asked: with the budget of the stored plan.
    """
    prepare()
    asked = asked.model_copy(
        update={
            "time_limit_seconds": settings.seconds,
            "seed": settings.seed,
            "deterministic": settings.deterministic,
        }
    )
    plan, stored = _attempt(graph, asked, None)
    if plan is None:
        return []
    results = []
    for change in CHANGES:
        budget_bytes = int(asked.budget_bytes * (1 + change))
        changed = asked.model_copy(update={"budget_bytes": budget_bytes})
        _, cold = _attempt(graph, changed, None)
        _, warm = _attempt(graph, changed, plan)
        results.append(
            Replanning(
                case=name,
                change=change,
                budget_bytes=budget_bytes,
                stored=stored,
                cold=cold,
                warm=warm,
                settings=settings,
                commit=commit(),
            )
        )
    return results


def _attempt(
    graph: OpGraph, request: PlanRequest, start: Plan | None
) -> tuple[Plan | None, Attempt]:
    began, cpu = time.monotonic(), time.process_time()
    answer = solve(graph, request, start=start)
    cpu_seconds, seconds = time.process_time() - cpu, time.monotonic() - began
    totals = None if answer.plan is None else answer.plan.totals
    return answer.plan, Attempt(
        status=answer.status,
        importance=None if totals is None else totals.importance,
        time_ns=None if totals is None else totals.time_ns,
        arena_bytes=None if totals is None else totals.arena_bytes,
        cpu_seconds=round(cpu_seconds, 3),
        seconds=round(seconds, 3),
    )


def _measure(name: str, settings: Settings) -> list[Replanning]:
    case = CASES[name]()
    return replan(name, case.graph, case.request, settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, and write the section."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        seconds=options.seconds,
        seed=options.seed,
        deterministic=options.deterministic,
        jobs=options.jobs,
    )
    known = _read(options.cache, settings)
    wanted = [name for name in options.cases or CASES if (name, CHANGES[-1]) not in known]
    options.cache.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_measure, name, settings): name for name in wanted}
        for future in as_completed(futures):
            rows = future.result()
            with options.cache.open("a") as file:
                file.writelines(row.model_dump_json() + "\n" for row in rows)
            known |= {(row.case, row.change): row for row in rows}
            what = summary(rows) if rows else "no plan to store"
            print(f"{futures[future]}: {what}", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - began) / 60
    rows = [known[name, change] for name in CASES for change in CHANGES if (name, change) in known]
    command = shlex.join(["python", "-m", "benchmarks.warm_start", *(arguments or sys.argv[1:])])
    write_section(options.output, "warm-start", section(rows, command))
    print(f"{minutes:.0f} min. {summary(rows)} -> {options.output}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="warm_start", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=lambda text: text.split(","), help=f"of {', '.join(CASES)}")
    parser.add_argument("--seconds", type=float, default=12.0, help="time limit of each solve")
    parser.add_argument(
        "--deterministic", action="store_true", help="count work and not the clock (a busy machine)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="cases side by side")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/warm_start.jsonl"))
    return parser


def _read(path: Path, settings: Settings) -> dict[tuple[str, float], Replanning]:
    """Return the lines of the cache that were measured with the same settings, and code."""
    if not path.is_file():
        return {}
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(Replanning.model_validate_json(text))
        except ValueError:  # cut off, or of an older form
            continue
    now = commit()
    return {
        (row.case, row.change): row
        for row in lines
        if row.settings == settings and row.commit == now
    }


if __name__ == "__main__":
    sys.exit(main())
