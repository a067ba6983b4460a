"""The lines of a run as a section of a Markdown document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.machine import describe_machine, versions
from benchmarks.planners.lines import Line, Smallest
from benchmarks.planners.verdict import verdict
from benchmarks.table import markdown_table

__all__ = ["budget_table", "gap", "networks_section", "section", "smallest_table"]

_SECTION = """\
## memplan and published planners on one common graph

{verdict}

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds} s of wall time for each solve, {probe} s for each probe of the smallest |

Every planner gets the same problem: operations in a topological order, each with a cost and one
block of bytes, which is freed behind its last reader. Forward operations may run again, backward
operations run once. Every answer is a sequence of operations, replayed by one simulator
(`benchmarks/planners/problem.py`), which counts bytes, time and MACs; budgets are parts of the peak
of live bytes of the plain order. *Time* is in units of the instance (of torch models one for each
MAC and four for each element read or written), and what planners make least; *extra* is what
recomputation costs, in % of one plain step: time, and MACs where the instance counts them. *Gap*
is what the planner itself proves of its total time, base included, in its own space of plans: all
but MODeL fix the order for that. memplan proves two: its first gap may hold for the order of its
plan only, as its certificate then says; its second one holds for plans of every order. *Arena*:
addresses by memplan's packer for every planner that chooses none; memplan, the sequential pipeline,
MODeL and Melon choose their own, which are checked for overlap.
*over* is a sequence whose live bytes exceed the budget; *proved* that the planner shows its own
space of plans to hold none. Seconds are wall / CPU.

{planners}

{tables}

{smallest}
"""

_SMALLEST = """### {title}

The fewest live bytes of any sequence that bisection over budgets brought up, and the fewest bytes
of an arena among them. *none at* is the largest budget at which the planner, or the operands of one
operation, prove that there is no plan in its space.{limit}

{table}
"""

_NETWORKS_SECTION = """\
## memplan and published planners on networks at 224

{verdict}

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds} s of wall time for each |

The same problem for all, the same simulator and the same rules as above. Budgets are parts of the
peak of live bytes of the plain order. In each cell: what recomputation costs, time / MACs in % of
one plain step, and in brackets the gap of time that the planner itself proves, in % of the step:
all fix the order for that, memplan's first gap is along the order of its plan, too, where its
certificate says so, and its second one is of plans of every order. *Seconds*: wall, on average.
memplan chooses addresses, too, in the same time: *live bytes fit* says of a plan that its arena
exceeds the budget.

{tables}

{smallest}
"""

_WORDS = {"infeasible": "proved: none", "none": "no plan", "n/a": "n/a", "failed": "failed"}


def section(
    lines: Sequence[Line], smallest: Sequence[Smallest], command: str, planners: str
) -> str:
    """Return the section; ``planners`` says what each of them is."""
    instances = list(dict.fromkeys(line.instance for line in lines))
    tables = []
    for instance in instances:
        own = [line for line in lines if line.instance == instance]
        first = own[0]
        tables.append(
            f"### {instance}\n\n{first.operations} operations, plain peak "
            f"{first.plain_peak_bytes:,} bytes, "
            f"time of a step {first.base_cost:,}{_macs(first)}\n\n" + budget_table(own)
        )
    return _SECTION.format(
        verdict=verdict(lines, smallest),
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(_commits(lines, smallest)),
        machine=describe_machine(),
        versions=versions(),
        seconds=_numbers({line.seconds_limit for line in lines}),
        probe=_numbers({each.seconds_limit for each in smallest}),
        planners=planners,
        tables="\n\n".join(tables),
        smallest=_smallest("Smallest bytes", smallest),
    )


def _commits(lines: Sequence[Line], smallest: Sequence[Smallest]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(x.commit for x in lines), *(x.commit for x in smallest)]))


def _macs(line: Line) -> str:
    return "" if line.base_macs is None else f", {line.base_macs:,} MACs"


def _smallest(title: str, smallest: Sequence[Smallest], limit: str = "") -> str:
    if not smallest:
        return ""
    return _SMALLEST.format(title=title, limit=limit, table=smallest_table(smallest)).rstrip()


def networks_section(lines: Sequence[Line], smallest: Sequence[Smallest], command: str) -> str:
    """Return a section with one table per network, one row per planner, one column per budget."""
    limits = _numbers({each.seconds_limit for each in smallest})
    tables = []
    for instance in dict.fromkeys(line.instance for line in lines):
        own = [line for line in lines if line.instance == instance]
        tables.append(
            f"### {instance}\n\n{own[0].operations} operations, plain peak "
            f"{own[0].plain_peak_bytes:,} bytes{_macs(own[0])}\n\n{_planner_table(own)}"
        )
    return _NETWORKS_SECTION.format(
        verdict=verdict(lines, smallest),
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(_commits(lines, smallest)),
        machine=describe_machine(),
        versions=versions(),
        seconds=_numbers({line.seconds_limit for line in lines}),
        tables="\n\n".join(tables),
        smallest=_smallest("Their smallest bytes", smallest, f" Each probe has {limits} s."),
    )


def _planner_table(lines: Sequence[Line]) -> str:
    fractions = sorted({line.budget_fraction for line in lines}, reverse=True)
    rows = []
    for planner in dict.fromkeys(line.planner for line in lines):
        own = {line.budget_fraction: line for line in lines if line.planner == planner}
        seconds = sum(line.wall_seconds for line in own.values()) / len(own)
        cells = (_cell(own[part]) if part in own else "" for part in fractions)
        rows.append([planner, *cells, f"{seconds:.1f}"])
    header = ("planner", *(f"{part:g}" for part in fractions), "seconds")
    return markdown_table(header, rows, left=1)


def _cell(line: Line) -> str:
    """Return what a planner came to at one budget, in a few words."""
    if line.outcome != "plan" or line.cost is None:
        return _WORDS.get(line.outcome, line.outcome)
    proved = gap(line)
    extra = f"{_extra(line.cost, line.base_cost)} / {_extra(line.macs, line.base_macs)}"
    words = extra if proved is None else f"{extra} ({_gaps(line)})"
    return f"{words}, live bytes fit" if (line.arena_bytes or 0) > line.budget_bytes else words


def _extra(total: int | None, base: int | None) -> str:
    """Return what is above a plain step in %; a dash where it is not counted."""
    return f"{100 * (total / base - 1):.2f}" if total is not None and base else "-"


def gap(line: Line) -> float | None:
    """Return the certified gap in % of the plan's total cost; None where nothing is proved."""
    if line.outcome != "plan" or line.cost is None or line.cost_bound is None:
        return None
    return 100 * (line.cost - line.cost_bound) / line.cost if line.cost else 0.0


def _gaps(line: Line) -> str:
    """Return the gap in the planner's own space, and that of every order where it is proved."""
    proved = gap(line)
    if proved is None:
        return "-"
    if line.any_order_bound is None or not line.cost:
        return f"{proved:.2f}"
    return f"{proved:.2f} / {100 * (1 - line.any_order_bound / line.cost):.2f}"


def budget_table(lines: Sequence[Line]) -> str:
    """Return one row per budget and planner."""
    header = (
        "budget", "planner", "result", "peak", "arena", "time", "extra %", "extra MACs %", "gap %",
        "seconds",
    )  # fmt: skip
    return markdown_table(header, [_row(line) for line in lines], left=3)


def _row(line: Line) -> list[str]:
    planned = line.peak_bytes is not None
    result = {"plan": "fits", "over": "over"}.get(line.outcome) or _WORDS[line.outcome]
    if line.outcome == "plan" and (line.arena_bytes or 0) > line.budget_bytes:
        result = "live bytes fit"
    return [
        f"{line.budget_fraction:g}",
        line.planner,
        result,
        f"{line.peak_bytes:,}" if planned else "-",
        f"{line.arena_bytes:,}" if planned else "-",
        f"{line.cost:,}" if planned else "-",
        _extra(line.cost, line.base_cost),
        _extra(line.macs, line.base_macs),
        _gaps(line),
        f"{line.wall_seconds:.1f} / {line.cpu_seconds:.1f}",
    ]


def smallest_table(smallest: Sequence[Smallest]) -> str:
    """Return one row per instance and planner."""
    header = ("instance", "planner", "live bytes", "of plain", "arena", "none at", "seconds")
    rows = []
    for each in smallest:
        peak, arena = each.peak_bytes, each.arena_bytes
        rows.append(
            [
                each.instance,
                each.planner,
                "n/a" if not each.applicable else "no plan" if peak is None else f"{peak:,}",
                "-" if peak is None else f"{peak / each.plain_peak_bytes:.3f}",
                "-" if arena is None else f"{arena:,}",
                "-" if each.infeasible_bytes is None else f"{each.infeasible_bytes:,}",
                f"{each.wall_seconds:.0f} / {each.cpu_seconds:.0f}",
            ]
        )
    return markdown_table(header, rows, left=2)


def _numbers(numbers: set[float]) -> str:
    return ", ".join(f"{number:g}" for number in sorted(numbers)) or "-"
