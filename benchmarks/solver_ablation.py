"""What each technique of the solver is worth: all of them, and all but one, on the same questions.

    python -m benchmarks.solver_ablation [--cases chain-40,resnet8] [--without hasten,hints]

Each solve has one worker and the same time limit; ``--jobs`` of them run side by side.  Every
switch of ``Techniques`` has a line, whatever switches there are, and so has a second run with all
of them: what differs there is chance.  Plans have passed ``ir.check``.  The table goes to
docs/solver.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from benchmarks.machine import commit, describe_machine, versions
from benchmarks.sections import write_section
from benchmarks.solver_ablation_cases import CASES, Case
from benchmarks.table import markdown_table
from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver import Techniques, solve

__all__ = ["ONCE_MORE", "Outcome", "main", "measure", "outcome_of", "table"]

#: The line of the second run with every technique.
ONCE_MORE = "nothing, once more"
#: Differences below this part of the value count as none.
MARGIN = 1e-3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one question."""

    status: str
    importance: int
    time_ns: int
    arena_bytes: int
    #: Proven; None: nothing is, or importance is not settled.
    time_bound_ns: int | None
    lower_bound_bytes: int
    seconds: float

    @property
    def has_plan(self) -> bool:
        """Tell whether there is a plan."""
        return self.status in ("optimal", "feasible")

    @property
    def gap(self) -> float:
        """What the time may be too long by, as a part of it; all of it where nothing is proven."""
        bound = self.time_bound_ns
        return 1.0 if bound is None else (self.time_ns - bound) / max(1, self.time_ns)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table."""
    options = _parser().parse_args(arguments)
    began = time.monotonic()
    names = options.cases or list(CASES)
    _tell(f"making {len(names)} questions")
    cases = [CASES[name]() for name in names]
    switches = options.without or list(Techniques.names())
    outcomes = measure(cases, switches, options.seconds, options.seed, options.jobs)
    command = shlex.join(
        ["python", "-m", "benchmarks.solver_ablation", *(arguments or sys.argv[1:])]
    )
    minutes = (time.monotonic() - began) / 60
    section = (
        f"Measured by `{command}` in {minutes:.0f} minutes on {datetime.now(UTC):%Y-%m-%d}, "
        f"commit {commit()}, on {describe_machine()}; {versions()}. At most {options.seconds:g} s "
        f"for each solve, one worker, seed {options.seed}, {options.jobs} solves side by side.\n\n"
        f"{table([case.name for case in cases], outcomes)}"
    )
    write_section(options.output, "solver-ablation", section)
    _tell(f"-> {options.output}")
    return 0


def measure(
    cases: Sequence[Case], switches: Sequence[str], seconds: float, seed: int, jobs: int
) -> dict[str, list[Outcome]]:
    """Return the outcome of every case, without each of the switches.

    ``""`` and ``ONCE_MORE``: with everything.
    """
    texts = [case.graph.to_json() for case in cases]
    limits = {"time_limit_seconds": seconds, "seed": seed}
    requests = [case.request.model_copy(update=limits) for case in cases]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_load_code) as pool:
        futures = {
            name: [
                pool.submit(_ask, text, request.to_json(), name)
                for text, request in zip(texts, requests, strict=True)
            ]
            for name in ("", *switches, ONCE_MORE)
        }
        outcomes = {}
        for name, row in futures.items():
            outcomes[name] = [future.result() for future in row]
            _tell(f"without {name or 'nothing'}")
    return outcomes


def _load_code() -> None:
    """Solve something of each kind: loading compiled code would count against the first line."""
    for case in (CASES["layered-20"](), CASES["resnet8"]()):
        solve(case.graph, case.request.model_copy(update={"time_limit_seconds": 2.0}))


def _ask(graph: str, request: str, without: str) -> Outcome:
    techniques = Techniques.without(*([] if without in ("", ONCE_MORE) else [without]))
    answer = solve(OpGraph.from_json(graph), PlanRequest.from_json(request), techniques=techniques)
    return outcome_of(answer)


def outcome_of(answer: Answer) -> Outcome:
    """Return what of an answer the table is made of."""
    if answer.plan is None:
        bound, seconds = answer.lower_bound_bytes, answer.solve_seconds
        return Outcome(answer.status, 0, 0, 0, None, bound, seconds)
    totals = answer.plan.totals
    levels = {level.name: level.bound for level in answer.plan.certificate.levels}
    return Outcome(
        answer.status,
        totals.importance,
        totals.time_ns,
        totals.arena_bytes,
        levels["time_ns"],
        answer.lower_bound_bytes,
        answer.solve_seconds,
    )


def table(cases: Sequence[str], outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """Return two tables in Markdown: with everything by case, and what is lost without each."""
    whole = outcomes[""]
    by_case = [
        [
            name,
            each.status,
            f"{each.importance / 1e4:.2f} %" if each.has_plan and each.importance else "",
            f"{each.time_ns / 1e6:.4g}" if each.has_plan else "",
            f"{each.arena_bytes:,}" if each.has_plan else "",
            _gap(each) if each.has_plan else "",
            f"{each.seconds:.1f}",
        ]
        for name, each in zip(cases, whole, strict=True)
    ]
    header = ["with everything", "status", "importance", "time ms", "arena B", "gap of time", "s"]
    rows = [_row(cases, name, outcomes[name], whole) for name in outcomes]
    titles = [
        "without", "answered", "proved", "worse / better", "time", "gap of time", "byte bound", "s",
        "worse most on",
    ]  # fmt: skip
    return f"{markdown_table(header, by_case)}\n\n{markdown_table(titles, rows)}\n\n{_LEGEND}"


_LEGEND = """\
*Answered*: a plan, or a proof that there is none. *Proved*: optimal, or infeasible. *Worse /
better*: cases whose plan is so by at least 0.1 % on the first level that differs. *Time*: of the
plans of the same importance, on average against that with everything. *Gap of time*: average over
the cases with a plan of what the time may be too long by; 100 % where nothing is proved. *Byte
bound*: average against that with everything. *s*: average of seconds. One run each: what
the last line shows is chance."""


def _row(
    cases: Sequence[str], name: str, these: Sequence[Outcome], whole: Sequence[Outcome]
) -> list[str]:
    pairs = list(zip(these, whole, strict=True))
    change = [_change(this, other) for this, other in pairs]
    times = [
        this.time_ns / other.time_ns - 1
        for this, other in pairs
        if this.has_plan and other.has_plan and this.importance == other.importance
    ]
    gaps = [this.gap for this in these if this.has_plan]
    bounds = [
        this.lower_bound_bytes / other.lower_bound_bytes - 1
        for this, other in pairs
        if other.lower_bound_bytes
    ]
    worst = min(range(len(change)), key=lambda index: change[index])
    return [
        name.replace("_", " ") or "nothing",
        f"{sum(each.has_plan or each.status == 'infeasible' for each in these)} of {len(these)}",
        str(sum(each.status in ("optimal", "infeasible") for each in these)),
        f"{sum(c < 0 for c in change)} / {sum(c > 0 for c in change)}" if name else "",
        f"{100 * _mean(times):+.2f} %" if name else "",
        f"{100 * _mean(gaps):.2f} %",
        f"{100 * _mean(bounds):+.1f} %" if name else "",
        f"{_mean([each.seconds for each in these]):.1f}",
        cases[worst] if change[worst] < 0 else "",
    ]


def _change(this: Outcome, other: Outcome) -> float:
    """Return by how much a plan is better (above 0), on the first level that differs; or 0."""
    if this.has_plan != other.has_plan:
        return 1.0 if this.has_plan else -1.0
    levels = (
        (this.importance, other.importance, 1),
        (this.time_ns, other.time_ns, -1),
        (this.arena_bytes, other.arena_bytes, -1),
    )
    for value, reference, sign in levels:
        part = sign * (value - reference) / max(1, abs(reference))
        if abs(part) >= MARGIN:
            return part
    return 0.0


def _gap(outcome: Outcome) -> str:
    return "?" if outcome.time_bound_ns is None else f"{100 * outcome.gap:.2f} %"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="solver_ablation", description=__doc__.split("\n")[0])

    def names(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--cases", type=names, help=f"of {', '.join(CASES)}")
    parser.add_argument("--without", type=names, help="switches; default: each of all")
    parser.add_argument("--seconds", type=float, default=4.0, help="time limit of each solve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="solves side by side")
    parser.add_argument("--output", type=Path, default=Path("docs/solver.md"))
    return parser


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
