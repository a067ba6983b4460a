"""Recomputation of chains: memplan beside Checkmate's program on HiGHS, in one process.

    python -m benchmarks.chains [--operations 40,80] [--seeds 0,1,2] [--parts 0.7,0.5]

After a warm-up of each, the planners take turns on every chain and budget; of each the median
counts.  memplan's time is that of all of ``solve``, addresses and check included, one worker.
Checkmate's is that of writing its program down and solving it.  Where both prove an optimum it must
be the same one.  The table goes to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import measured_by
from benchmarks.planners.answer import Planner
from benchmarks.planners.checkmate import checkmate, checkmate_big_m
from benchmarks.planners.instances import chain, from_folder
from benchmarks.planners.ours import as_graph, as_request
from benchmarks.planners.problem import Problem, simulate
from benchmarks.sections import write_section
from benchmarks.table import markdown_table
from memplan.solver import solve

__all__ = ["Runs", "main", "measure", "table"]

OURS = "memplan"
#: (problem, budget in bytes, seconds) -> (seconds taken, cost or None, whether it is proved least).
Timed = Callable[[Problem, int, float], tuple[float, int | None, bool]]


@dataclass
class Runs:
    """Repetitions of one planner on one chain and budget."""

    seconds: list[float] = field(default_factory=list)
    cost: int | None = None
    proved: bool = False

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = _parser().parse_args(arguments)
    if options.graphs:
        problems = [one for one in from_folder(options.graphs) if one.name.startswith("chain")]
    else:
        problems = [chain(count, seed) for count in options.operations for seed in options.seeds]
    for warm_up in (_memplan, *RIVALS.values()):
        warm_up(chain(20, 0), chain(20, 0).plain_peak_bytes // 2, options.seconds)
    results = []
    for problem in problems:
        for part in options.parts:
            runs = measure(problem, part, options.seconds, options.repetitions, options.patience)
            results.append((problem, part, runs))
            _tell(f"{problem.name} at {part:g}: {_summary(runs)}")
    section = (
        "## Recomputation of chains\n\n"
        f"{measured_by('chains', arguments)} "
        f"Medians of up to {options.repetitions} turns each in "
        f"one process after a warm-up, one worker, at most {options.seconds:g} s by the wall; who "
        f"has had {options.patience:g} s on a line sits out its other turns.\n\n{table(results)}"
    )
    write_section(options.output, "chains", section)
    _tell(f"-> {options.output}")
    return 0


def measure(
    problem: Problem, part: float, seconds: float, repetitions: int, patience: float
) -> dict[str, Runs]:
    """Let all planners take turns within a part of the plain peak.

    Raises:
        RuntimeError: two optima differ, so that one of them is none.
    """
    budget = int(part * problem.plain_peak_bytes)
    planners = {OURS: _memplan, **RIVALS}
    runs = {name: Runs() for name in planners}
    for _ in range(repetitions):
        for name, planner in planners.items():
            own = runs[name]
            if sum(own.seconds) >= patience:
                continue
            taken, cost, proved = planner(problem, budget, seconds)
            own.seconds.append(taken)
            own.cost, own.proved = cost, proved
    optima = {own.cost for own in runs.values() if own.proved}
    if len(optima) > 1:
        raise RuntimeError(f"{problem.name} within {budget} bytes: two optima, {optima}")
    return runs


def _memplan(problem: Problem, budget: int, seconds: float) -> tuple[float, int | None, bool]:
    graph, request = as_graph(problem), as_request(budget, seconds, workers=1)
    began = time.perf_counter()
    answer = solve(graph, request)
    taken = time.perf_counter() - began
    if answer.plan is None:
        return taken, None, False
    (level,) = [one for one in answer.plan.certificate.levels if one.name == "time_ns"]
    return taken, level.value, level.value == level.bound


def _rival(planner: Planner) -> Timed:
    def timed(problem: Problem, budget: int, seconds: float) -> tuple[float, int | None, bool]:
        began = time.perf_counter()
        attempt = planner(problem, budget, seconds)
        taken = time.perf_counter() - began
        if attempt.sequence is None:
            return taken, None, False
        replay = simulate(problem, attempt.sequence)
        if replay.peak_bytes > budget:
            return taken, None, False
        return taken, replay.cost, attempt.cost_bound == replay.cost

    return timed


RIVALS: dict[str, Timed] = {
    "checkmate": _rival(checkmate),
    "checkmate-big-m": _rival(checkmate_big_m),
}


def table(results: Sequence[tuple[Problem, float, dict[str, Runs]]]) -> str:
    """Return a line for each chain and budget, and what the columns mean."""
    header = ["chain", "part of peak", "bytes", "time", "memplan s"]
    header += [cell for name in RIVALS for cell in (f"{name} s", "times slower")]
    rows = []
    for problem, part, runs in results:
        ours = runs[OURS]
        row = [
            problem.name,
            f"{part:g}",
            str(int(part * problem.plain_peak_bytes)),
            "no plan" if ours.cost is None else str(ours.cost) + ("" if ours.proved else " (open)"),
            f"{ours.median:.3f}",
        ]
        for name in RIVALS:
            own = runs[name]
            more = "" if own.proved else "> "
            note = " (no plan)" if own.cost is None else "" if own.proved else f" ({own.cost})"
            row += [f"{more}{own.median:.2f}{note}", f"{more}{own.median / ours.median:.1f}"]
        rows.append(row)
    return f"{markdown_table(header, rows)}\n\n{_LEGEND}"


_LEGEND = """\
*Time*: of the whole step, in the units of the graph, proved least unless it says open; where a
rival proves an optimum it is the same. *checkmate*: the authors' second program without big-M.
*checkmate-big-m*: as published first. *>*: its time was over before it had proved the optimum; in
brackets the cost of its plan."""


def _summary(runs: dict[str, Runs]) -> str:
    return ", ".join(
        f"{name} {own.cost}{'' if own.proved else '?'} in {own.median:.3f} s ({len(own.seconds)})"
        for name, own in runs.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chains", description=__doc__.split("\n")[0])

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def parts(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    parser.add_argument("--operations", type=numbers, default=[40, 80])
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--graphs", type=Path, help="chains of this folder's JSON files instead")
    parser.add_argument("--parts", type=parts, default=[0.7, 0.5], help="of the plain peak")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of each solve")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds of a planner on one line"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    return parser


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
