"""Published sparse updates, planned: records of what was measured, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from benchmarks.machine import describe_machine, versions
from benchmarks.published_schemes import MEASURED_KILOBYTES, SCHEMES
from benchmarks.table import markdown_table

__all__ = ["AUTO", "Importance", "Measured", "Settings", "choice_table", "scheme_table", "section"]

#: Of each published scheme, measured or not, by network, criterion, and name.
Importance = dict[tuple[str, str], dict[str, int]]

#: A row whose name this is has its mask chosen by memplan.
AUTO = "auto"

_SECTION = """\
## Training steps in 256 KB: published sparse updates

| measured by | `{command}` |
| --- | --- |
| the whole table | `python -m benchmarks.tiny_training` (about a quarter of an hour) |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s for each row, {workers} workers, seed {seed} |

One training step at batch 1: 128x128 image; ten classes; int8 (`--quantize int8`) with
a float32 classifier, which is updated whole; SGD. The masks are the {schemes} sparse updates of
MCUNetV3 (Lin et al., 2022; `benchmarks/published_schemes.py` names the source). 1 KB is 1024
bytes.

* *Analytic*: bytes beside those of an inference by the authors' rule, from the traced graph;
  whole kilobytes are the scheme's name. It counts no forward pass and no gradient.
* *Arena*: smallest plan that was found and that the checker accepts, with everything that the step
  writes (image, activations, gradients, updated weights) except for the program's stack and
  static data. *Bound*: no plan of this mask needs fewer bytes; proved, for the ways of executing
  that the graph offers.
* *Streamed*: the same where the rows of the image come from the program one after the other
  (`--input-streamed`), so that the image is not resident.
* *Parameters*: of the arena, what stays from step to step.
* *Engine*: peak SRAM of Tiny Training Engine, as its authors measured it on an STM32F746. They
  do not say for which of the schemes, so it stands beside each of about 100 KB.

{table}

### The mask chosen by memplan

`--update auto` at {budget:,} bytes, beside the most important of the published schemes that are
not known to need more than that. *Importance* is the part of the importance of a full update, by
the same criterion for both: `tinytrain` without samples (a proxy, of which the classifier, small
and cheap, holds the greater part), and `uniform` (every layer counts the same). It says what the
planner was asked to maximize, and nothing about accuracy.

{choices}
"""


class Settings(BaseModel):
    """What a row was measured with; rows of other settings do not stand in for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    seed: int
    workers: int
    budget_bytes: int


class Measured(BaseModel):
    """One row, and one line of the cache; a plan that was not found has no arena."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    #: Of the published scheme, or ``auto``.
    scheme: str
    #: What ``auto`` maximizes; empty for a published scheme.
    criterion: str = ""
    #: Whether the rows of the image come from the program.
    streamed: bool = False
    graph_hash: str
    analytic_bytes: int = 0
    arena_bytes: int | None
    parameter_bytes: int = 0
    lower_bound_bytes: int
    #: For ``auto``: of the plan, and of a full update.
    importance: int = 0
    importance_total: int = 0
    time_ns: int = 0
    solve_seconds: float
    settings: Settings
    commit: str


def scheme_table(rows: Sequence[Measured]) -> str:
    """Return one line per published scheme that was measured, in published order."""
    known = {(row.network, row.scheme, row.streamed): row for row in rows if row.scheme != AUTO}
    lines = []
    for scheme in SCHEMES:
        resident = known.get((scheme.network, scheme.name, False))
        streamed = known.get((scheme.network, scheme.name, True))
        row = resident or streamed
        if row is None:
            continue
        near = abs(int(scheme.name.removesuffix("kb")) - 99) <= 1
        lines.append(
            [
                row.network,
                row.scheme,
                _kilobytes(row.analytic_bytes),
                _kilobytes(row.parameter_bytes) if row.parameter_bytes else "-",
                *_arena_cells(resident),
                *_arena_cells(streamed),
                f"{MEASURED_KILOBYTES[row.network]} KB" if near else "",
                " / ".join(f"{r.solve_seconds:.0f}" for r in (resident, streamed) if r),
            ]
        )
    header = (
        "network", "scheme", "analytic", "parameters", "arena", "bound", "above", "time",
        "streamed: arena", "bound", "above", "time", "engine", "solve s",
    )  # fmt: skip
    return markdown_table(header, lines, left=2)


def _arena_cells(row: Measured | None) -> list[str]:
    if row is None:
        return ["not measured", "-", "-", "-"]
    if row.arena_bytes is None:
        return ["none found", _kilobytes(row.lower_bound_bytes), "-", "-"]
    return [
        _kilobytes(row.arena_bytes),
        _kilobytes(row.lower_bound_bytes),
        f"{100 * (row.arena_bytes / row.lower_bound_bytes - 1):.2f} %",
        f"{row.time_ns / 1e6:.2f} ms",
    ]


def choice_table(rows: Sequence[Measured], importance: Importance) -> str:
    """Return one line per choice of ours: against the best published scheme that may fit."""
    known = {
        (row.network, row.scheme): row for row in rows if row.scheme != AUTO and not row.streamed
    }
    header = ("network", "criterion", "auto", "arena", "time", "best published", "its importance")
    lines = []
    order = {key: index for index, key in enumerate(importance)}
    chosen = [row for row in rows if (row.network, row.criterion) in order]
    for row in sorted(chosen, key=lambda row: order[row.network, row.criterion]):
        rivals = {
            name: units
            for name, units in importance[row.network, row.criterion].items()
            if _may_fit(known.get((row.network, name)), row.settings.budget_bytes)
        }
        name = max(rivals, key=lambda name: rivals[name], default="-")
        best = rivals.get(name, 0)
        found = row.arena_bytes is not None
        lines.append(
            [
                row.network,
                row.criterion,
                _share(row.importance, row) if found else "no plan",
                _kilobytes(row.arena_bytes or 0) if found else "-",
                f"{row.time_ns / 1e6:.2f} ms" if found else "-",
                name,
                _share(best, row),
                "more" if found and row.importance > best else "NOT MORE",
            ]
        )
    return markdown_table((*header, "verdict"), lines, left=2)


def section(
    rows: Sequence[Measured],
    importance: Importance,
    settings: Settings,
    command: str,
) -> str:
    """Return the section of the document with both tables."""
    return _SECTION.format(
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(dict.fromkeys(row.commit for row in rows)),
        machine=describe_machine(),
        versions=versions(),
        seconds=settings.seconds,
        workers=settings.workers,
        seed=settings.seed,
        schemes=len(SCHEMES),
        table=scheme_table(rows),
        budget=settings.budget_bytes,
        choices=choice_table(rows, importance),
    )


def _may_fit(row: Measured | None, budget_bytes: int) -> bool:
    """Tell whether a scheme fits; one that was not measured may."""
    return row is None or (row.arena_bytes is not None and row.arena_bytes <= budget_bytes)


def _share(units: int, row: Measured) -> str:
    return f"{100 * units / max(1, row.importance_total):.3f} %"


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.1f} KB"
