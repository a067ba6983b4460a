"""Measure the packing: memplan, and the packers of other systems, on the same instances.

    python -m benchmarks.packing [FILE.csv|FOLDER|FILE.json ...] [--minimalloc PATH]

Every packing, also of the others, passes ``memplan.ir.check.packing`` before it counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from benchmarks.machine import commit, describe_machine, versions
from benchmarks.packing_ablation import ablation
from benchmarks.packing_cases import Case, cases
from benchmarks.packing_rivals import (
    GREEDY,
    Offsets,
    cp_sat,
    minimalloc,
    placed,
    vela_hill_climb,
)
from benchmarks.sections import write_section
from benchmarks.table import markdown_table
from memplan.ir.check.packing import packing_faults
from memplan.ir.packing import PackingAnswer, PackingBuffer
from memplan.solver import prepare
from memplan.solver.packing import Rectangle, answer, clique_bound

__all__ = ["Row", "main", "measure"]

_HERE = Path(__file__).resolve().parent
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds by the wall, and of all threads of this process."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Row:
    """One instance.  Arenas in bytes; None: nothing was found, or it was not run."""

    case: Case
    peak: int
    fixed: tuple[PackingAnswer, Timed] | None
    least: tuple[PackingAnswer, Timed]
    greedy: dict[str, int]
    vela: tuple[int, Timed] | None
    cp_sat: tuple[int | None, Timed]
    minimalloc: tuple[int | None, Timed] | None


def measure(case: Case, seconds: float, workers: int, seed: int, binary: Path | None) -> Row:
    """Run everything on one instance."""
    peak = clique_bound([Rectangle(b.lower, b.upper, b.size) for b in case.buffers])

    def ours(capacity: int | None) -> tuple[PackingAnswer, Timed]:
        return timed(
            lambda: answer(case.buffers, capacity, seconds=seconds, seed=seed, workers=workers)
        )

    fixed = None if case.capacity is None else ours(case.capacity)
    least = ours(None)
    goal = case.capacity or least[0].lower_bound
    vela, vela_time = timed(lambda: vela_hill_climb(case))
    by_cp, cp_time = timed(lambda: cp_sat(case, goal, seconds, workers))
    theirs = None
    if binary is not None:
        offsets, took = timed(lambda: minimalloc(binary, case, goal, seconds))
        theirs = arena(case.buffers, offsets), took
    return Row(
        case,
        peak,
        fixed,
        least,
        {name: _known(arena(case.buffers, packer(case))) for name, packer in GREEDY.items()},
        None if vela is None else (_known(arena(case.buffers, vela)), vela_time),
        (arena(case.buffers, by_cp), cp_time),
        theirs,
    )


def timed(work: Callable[[], T]) -> tuple[T, Timed]:
    """Return what ``work`` returns, and how long it took."""
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    return result, Timed(time.monotonic() - wall, time.process_time() - cpu)


def arena(buffers: Sequence[PackingBuffer], offsets: Offsets | None) -> int | None:
    """Return the highest end of a packing that passes the check.

    Raises:
        ValueError: it does not.
    """
    if offsets is None:
        return None
    top = max(offset + b.size for b, offset in zip(buffers, offsets, strict=True))
    faults = packing_faults(buffers, placed(buffers, offsets), top)
    if faults:
        raise ValueError(f"a packing is wrong: {faults[0]}")
    return top


def _known(size: int | None) -> int:
    assert size is not None
    return size


def table(rows: Sequence[Row]) -> str:
    """Return one line per instance; arenas as multiples of the peak of live bytes."""
    names = list(GREEDY)
    header = ["instance", "buffers", "peak of live bytes", "capacity", "memplan", "s (CPU s)"]
    header += ["memplan, least", "s (CPU s)", *names, "Vela HillClimb (s)", "CP-SAT alone (s)"]
    with_minimalloc = any(row.minimalloc for row in rows)
    header += ["minimalloc (s)"] if with_minimalloc else []
    return markdown_table(header, [_cells(row, names, with_minimalloc) for row in rows])


def _cells(row: Row, names: Sequence[str], with_minimalloc: bool) -> list[str]:
    def ratio(size: int | None) -> str:
        return "none" if size is None else f"{size / row.peak:.3f}"

    fixed = ["-", "-", "-"]
    if row.fixed is not None:
        result, took = row.fixed
        fixed = [f"{result.capacity:,}", result.status, f"{took.wall:.2f} ({took.cpu:.2f})"]
    result, took = row.least
    cells = [row.case.name, str(len(row.case.buffers)), f"{row.peak:,}", *fixed]
    cells += [f"{ratio(result.height)} {result.status}", f"{took.wall:.2f} ({took.cpu:.2f})"]
    cells += [ratio(row.greedy[name]) for name in names]
    vela = row.vela
    cells.append("-" if vela is None else f"{ratio(vela[0])} ({vela[1].wall:.1f})")
    cells.append(f"{ratio(row.cp_sat[0])} ({row.cp_sat[1].wall:.1f})")
    if with_minimalloc:
        theirs = row.minimalloc
        cells.append("-" if theirs is None else f"{ratio(theirs[0])} ({theirs[1].wall:.1f})")
    return cells


_PAGE = """\
## Packing

**{summary}**

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commit} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s for each search, {workers} workers, seed {seed} |

Arenas are multiples of the peak of live bytes, below which no packing is. *capacity*: the bytes
that the instance asks for, and whether memplan packs into them; *least*: with `--capacity min`.
CP-SAT alone is asked for the same capacity (or memplan's proven bound): it has a packing, or none
in time. Machine code was compiled before; CPU seconds are those of all threads.
The greedy rivals are written anew from their published rules (`benchmarks/packing_rivals.py`) and
take milliseconds; Vela's is the package's own code. All packings passed the check.

{table}

### What each technique is worth

{ablation}
"""


def summary(rows: Sequence[Row]) -> str:
    """Return one sentence."""
    asked = [row.fixed for row in rows if row.fixed is not None]
    packed = [each for each in asked if each[0].status == "feasible"]
    tight = [row for row in rows if row.least[0].height == row.peak]
    return (
        f"{len(packed)} of {len(asked)} instances packed at the capacity they ask for, in "
        f"{sum(took.wall for _, took in asked):.1f} s ({sum(took.cpu for _, took in asked):.1f} "
        f"CPU s) together; {len(tight)} of {len(rows)} at the peak of live bytes."
    )


def _version_of_vela() -> str:
    try:
        return f", ethos-u-vela {version('ethos-u-vela')}"
    except PackageNotFoundError:
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    parser.add_argument("instances", nargs="*", type=Path, default=[_HERE / "instances"])
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of each search")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minimalloc", type=Path, metavar="PATH", help="its binary")
    parser.add_argument("--ablation-seconds", type=float, default=5.0, help="0: leave it out")
    parser.add_argument("-o", "--output", type=Path, default=_HERE.parent / "docs/benchmarks.md")
    options = parser.parse_args(arguments)
    chosen = list(cases(options.instances))
    prepare()
    rows = []
    for case in chosen:
        rows.append(
            measure(case, options.seconds, options.workers, options.seed, options.minimalloc)
        )
        print(" ".join(_cells(rows[-1], list(GREEDY), True)), file=sys.stderr, flush=True)
    hard = [case for case in chosen if case.capacity is not None]
    names = [path.name for path in options.instances]
    page = _PAGE.format(
        summary=summary(rows),
        command=" ".join(["python -m benchmarks.packing", *names]),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit(),
        machine=describe_machine(),
        versions=f"{versions()}{_version_of_vela()}",
        seconds=options.seconds,
        workers=options.workers,
        seed=options.seed,
        table=table(rows),
        ablation=ablation(hard, options.ablation_seconds) if options.ablation_seconds else "",
    )
    write_section(options.output, "packing", page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
