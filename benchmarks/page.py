"""The section that a benchmark's table lands in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from benchmarks.comparison import MARGIN, Comparison
from benchmarks.machine import describe_machine, versions
from benchmarks.table import comparison_table, summary

__all__ = ["page"]

_PAGE = """\
## The joint choice against one after the other

**{summary}**

| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commits} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |
| time limit | {seconds:g} s for each solve, {workers} workers, seed {seed} |

Each example is one training step (batch 2, SGD, frozen batch norm) in which the planner may
choose what is updated (`--update auto`, criterion `tinytrain` without samples). Budgets are
1.05 and 1.2 times the smallest bytes that the sequential way was found to do, by bisection.
*Importance* is the part of the importance of a full update; *time* is the analytic time of the
step, which more updates make longer. The verdict is on the joint choice: a *win* is a plan
where the other way has none, or at least {margin:g} % more importance, or no less importance
and at least {margin:g} % less time; a *loss* is the reverse. Every plan in the table has passed
the checker.

{table}
{missing}
### The sequential way

What one builds from the parts that exist, each part as good as memplan can do it:

1. **Mask.** The most important mask whose *estimated* bytes are within the budget: an exact
   knapsack over the same options of the layers. The estimate is additive, as in MCUNetV3 (eq.
   5) and TinyTrain: per updated layer its persistent bytes and its saved input (or the slice of
   it that is needed), plus, once, the peak of the plain step that brings the gradient to the
   layer where that is highest. The papers count less for the latter (mask bits; the forward
   peak), which would make estimates exceed the budget more often. Where no mask is estimated to
   fit, it is the mask of the least estimate: below that budget the mask is chosen blindly,
   since an estimate that is made before the schedule cannot count on recomputation.
2. **Schedule.** Traced order; recomputation by memplan's greedy starts and annealing for that
   mask and budget.
3. **Addresses.** memplan's packing of that one schedule, the fastest that fits in live bytes.

The micro-batch is the full batch. Only where that gives no plan, the three steps are taken
again for the next smaller one, with the estimate for it. Nothing else is fed back. Plans that
turned up while the smallest bytes were looked for count at every budget that holds them. The
code is `benchmarks/sequential.py`.
"""


def page(comparisons: Sequence[Comparison], command: str, missing: Sequence[str] = ()) -> str:
    """Return the document with the table; ``missing`` examples have no line in it."""
    settings = {(each.seconds_limit, each.workers, each.seed) for each in comparisons}
    seconds, workers, seed = max(settings, default=(0.0, 0, 0))
    return _PAGE.format(
        summary=summary(comparisons),
        command=command,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commits=", ".join(dict.fromkeys(comparison.commit for comparison in comparisons)),
        machine=describe_machine(),
        versions=versions(),
        seconds=seconds,
        workers=workers,
        seed=seed,
        margin=100 * MARGIN,
        table=comparison_table(comparisons),
        missing=f"\nWithout a line: {', '.join(missing)}.\n" if missing else "",
    )
