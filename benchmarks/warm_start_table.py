"""The section of docs/benchmarks.md about planning again from a stored plan."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.machine import describe_machine, versions
from benchmarks.table import markdown_table

if TYPE_CHECKING:
    from benchmarks.warm_start import Attempt, Replanning

__all__ = ["as_good", "section", "summary"]

TOLERANCE = 5e-3
TARGET = 0.2
#: A cold search that ends sooner leaves little to gain.
LONG_SECONDS = 2.0

_SECTION = """\
## Planning again from a stored plan

**{summary}**

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s {clock} for each solve, one worker, seed {seed}, {jobs} at a time |

One plan of each case is stored. The budget then changes by so many per cent, and is planned from
nothing (*cold*) and from the stored plan (*warm*, `--start`). Both end by themselves. A cell says
by what the warm plan differs from the cold one, *i* in importance, otherwise in time (`=`: by less
than 0.005 %), and in brackets its CPU seconds as a part of the cold search's. *As good*: at least
as much importance, to {tolerance:g} %, and at equal importance no more time, to {tolerance:g} %.
Cold searches that prove their plan end early too; where that takes less than {long:g} s there is
little to gain. Every plan has passed the checker.

{table}
"""


def as_good(warm: Attempt, cold: Attempt) -> bool:
    """Tell whether the warm plan is as good as the cold one, to the tolerance."""
    if cold.importance is None or cold.time_ns is None:
        return True
    if warm.importance is None or warm.time_ns is None:
        return False
    if warm.importance < cold.importance * (1 - TOLERANCE):
        return False
    return warm.importance != cold.importance or warm.time_ns <= cold.time_ns * (1 + TOLERANCE)


def section(rows: Sequence[Replanning], command: str) -> str:
    """Return the section with the table; rows of one case stand together."""
    settings = [row.settings for row in rows]
    return _SECTION.format(
        summary=summary(rows),
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(dict.fromkeys(row.commit for row in rows)),
        machine=describe_machine(),
        versions=versions(),
        seconds=max((each.seconds for each in settings), default=0.0),
        clock="of work" if any(each.deterministic for each in settings) else "by the clock",
        seed=max((each.seed for each in settings), default=0),
        jobs=max((each.jobs for each in settings), default=0),
        tolerance=100 * TOLERANCE,
        long=LONG_SECONDS,
        table=_table(rows),
    )


def _table(rows: Sequence[Replanning]) -> str:
    changes = sorted({row.change for row in rows})
    by_case: dict[str, dict[float, Replanning]] = {}
    for row in rows:
        by_case.setdefault(row.case, {})[row.change] = row
    header = ["case", "cold s", *(f"{100 * change:+.0f} %" for change in changes)]
    lines = []
    for name, of_case in by_case.items():
        cold_seconds = median(row.cold.seconds for row in of_case.values())
        cells = [_cell(of_case[change]) if change in of_case else "" for change in changes]
        lines.append([name, f"{cold_seconds:.1f}", *cells])
    return markdown_table(header, lines)


def _cell(row: Replanning) -> str:
    cold, warm = row.cold, row.warm
    share = f"({100 * _share(row):.0f} %)"
    if cold.importance is None or cold.time_ns is None:
        found = "does not fit" if warm.importance is None else "fits"
        return f"{found} {share}"
    if warm.importance is None or warm.time_ns is None:
        return f"not found {share}"
    if warm.importance != cold.importance:
        return f"i {_percent(warm.importance / max(1, cold.importance) - 1)} {share}"
    return f"{_percent(warm.time_ns / max(1, cold.time_ns) - 1)} {share}"


def _percent(part: float) -> str:
    return "=" if abs(part) < 5e-5 else f"{100 * part:+.2f} %"


def _share(row: Replanning) -> float:
    return row.warm.cpu_seconds / max(0.01, row.cold.cpu_seconds)


def summary(rows: Sequence[Replanning]) -> str:
    """Return what the rows come to, in sentences."""
    if not rows:
        return "Nothing was measured."
    good = [row for row in rows if as_good(row.warm, row.cold)]
    long = [row for row in rows if row.cold.seconds >= LONG_SECONDS]
    text = f"The warm plan is as good in {len(good)} of {len(rows)} cases."
    if long:
        shares = [_share(row) for row in long]
        quick = sum(share < TARGET for share in shares)
        text += (
            f" Where the cold search takes {LONG_SECONDS:g} s or more, it takes less than "
            f"{100 * TARGET:.0f} % of its CPU time in {quick} of {len(long)}; the median is "
            f"{100 * median(shares):.0f} %."
        )
    larger = [row for row in rows if row.change > 0]
    if larger:
        kept = sum(not _is_worse(row.warm, row.stored) for row in larger)
        text += (
            f" With more bytes it is never worse than the stored plan in {kept} of {len(larger)}."
        )
    return text


def _is_worse(warm: Attempt, stored: Attempt) -> bool:
    if warm.importance is None or warm.time_ns is None:
        return True
    assert stored.importance is not None and stored.time_ns is not None
    return (-warm.importance, warm.time_ns) > (-stored.importance, stored.time_ns)
