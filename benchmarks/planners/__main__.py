"""memplan beside published planners: one common graph, one byte accounting, one simulator.

    python -m benchmarks.planners [--instances FOLDER] [--budgets 0.7,0.5] [--seconds 60]

    python -m benchmarks.planners --networks [--budgets 0.8,0.6,0.5,0.4]

The second measures the networks at 224, and writes a section of its own.

Lines are kept in ``build/`` as they are measured, so that an interrupted run goes on where it
stopped; the section of the document is written from all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import commit
from benchmarks.planners.instances import default_instances, from_folder
from benchmarks.planners.lines import Line, Smallest, measure, smallest_bytes
from benchmarks.planners.networks import NETWORKS
from benchmarks.planners.problem import Problem
from benchmarks.planners.registry import ABOUT, PLANNERS
from benchmarks.planners.report import budget_table, networks_section, section
from benchmarks.planners.worker import Worker
from benchmarks.sections import write_section

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, write the section, print the tables."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    options.probe_planners = options.probe_planners or options.planners
    problems = _problems(options)
    lines, smallest = _read(options.cache)
    worker = Worker()
    try:
        for problem in problems:
            _measure(worker, problem, options, lines, smallest)
    except KeyboardInterrupt:
        print("interrupted: what was measured is kept", file=sys.stderr)
    finally:
        worker.close()
    names = [problem.name for problem in problems]
    chosen = [
        lines[name, fraction, planner, options.seconds]
        for name in names
        for fraction in options.budgets
        for planner in options.planners
        if (name, fraction, planner, options.seconds) in lines
    ]
    least = [
        smallest[name, planner, options.probe_seconds]
        for name in names
        for planner in options.probe_planners
        if (name, planner, options.probe_seconds) in smallest
    ]
    for name in names:
        own = [line for line in chosen if line.instance == name]
        if own:
            print(f"{name}\n{budget_table(own)}\n")
    command = shlex.join(["python", "-m", "benchmarks.planners", *given])
    if options.networks:
        write_section(options.output, "planners-networks", networks_section(chosen, least, command))
    else:
        text = section(chosen, least, command, _described(options))
        write_section(options.output, "planners", text)
    return 0


def _measure(
    worker: Worker,
    problem: Problem,
    options: argparse.Namespace,
    lines: dict[tuple[str, float, str, float], Line],
    smallest: dict[tuple[str, str, float], Smallest],
) -> None:
    for planner in options.planners:
        for fraction in options.budgets:
            key = (problem.name, fraction, planner, options.seconds)
            if key in lines:
                continue
            line = measure(worker, planner, problem, fraction, options.seconds, commit())
            lines[key] = line
            _keep(options.cache, "line", line)
            _tell(
                f"{problem.name} {fraction:g} {planner}: {line.outcome} "
                f"peak {line.peak_bytes} of {line.budget_bytes}, arena {line.arena_bytes}, "
                f"cost {line.cost} >= {line.cost_bound}, {line.wall_seconds} s {line.note}"
            )
    if options.probe_seconds <= 0:
        return
    for planner in options.probe_planners:
        least = (problem.name, planner, options.probe_seconds)
        if least in smallest:
            continue
        found = smallest_bytes(worker, planner, problem, options.probe_seconds, commit())
        smallest[least] = found
        _keep(options.cache, "smallest", found)
        _tell(f"{problem.name} {planner}: smallest {found.peak_bytes}, arena {found.arena_bytes}")


def _problems(options: argparse.Namespace) -> list[Problem]:
    if not options.instances:
        named = options.only or (tuple(NETWORKS) if options.networks else ())
        return list(default_instances(named))
    problems = from_folder(options.instances)
    return [problem for problem in problems if not options.only or problem.name in options.only]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planners", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--instances", type=Path, help="a folder of JSON instances")
    parser.add_argument(
        "--only",
        type=_words,
        default=(),
        help=f"names of instances; large networks by name only: {', '.join(NETWORKS)}",
    )
    parser.add_argument(
        "--networks", action="store_true", help="the networks, as a section of its own"
    )
    parser.add_argument("--budgets", type=_fractions, default=(0.7, 0.5), help="of plain peak")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of each planner")
    parser.add_argument(
        "--probe-seconds",
        type=float,
        default=10.0,
        help="limit of each probe of the smallest bytes; 0: do not look for them",
    )
    parser.add_argument("--planners", type=_planners, default=tuple(PLANNERS))
    parser.add_argument(
        "--probe-planners", type=_planners, help="whose smallest bytes are looked for; default: all"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/planners.jsonl"))
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _fractions(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in _words(text))


def _planners(text: str) -> tuple[str, ...]:
    names = _words(text)
    for name in names:
        if name not in PLANNERS:
            raise argparse.ArgumentTypeError(f"{name}: there is {', '.join(PLANNERS)}")
    return names


def _read(
    path: Path,
) -> tuple[dict[tuple[str, float, str, float], Line], dict[tuple[str, str, float], Smallest]]:
    lines: dict[tuple[str, float, str, float], Line] = {}
    smallest: dict[tuple[str, str, float], Smallest] = {}
    for text in path.read_text().splitlines() if path.is_file() else ():
        kind, _, body = text.partition(" ")
        if kind == "line":
            line = Line.model_validate_json(body)
            lines[line.instance, line.budget_fraction, line.planner, line.seconds_limit] = line
        elif kind == "smallest":
            least = Smallest.model_validate_json(body)
            smallest[least.instance, least.planner, least.seconds_limit] = least
    return lines, smallest


def _keep(path: Path, kind: str, measured: Line | Smallest) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{kind} {measured.model_dump_json()}\n")


def _described(options: argparse.Namespace) -> str:
    return "\n".join(f"* `{name}`: {ABOUT[name]}." for name in options.planners)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
