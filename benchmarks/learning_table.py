"""What the adaptations came to: rows, claims about them, and the section of the document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.learning_curves import CLOSE, Curves
from benchmarks.learning_network import Accuracy
from benchmarks.learning_runs import BIASES, BIASES_AND_HEAD, BUDGET, FULL, HEAD, PLANNED
from benchmarks.learning_study import Case, Record, Scaling, mean_and_spread
from benchmarks.machine import commit, describe_machine, versions
from benchmarks.table import markdown_table

__all__ = ["Claim", "Row", "claims", "curve_table", "rate_table", "section", "table"]

_SCALING: Mapping[Scaling, str] = {
    "aware": "aware",
    "plain": "without",
    "apart": "without, head apart",
    "none": "no integers",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A case, over all seeds.

    Attributes:
        arenas: bytes of the plans, one for each seed.
        parameters: what of them stays from step to step.
        bounds: proved: the same update needs no less.
        records: of the chosen learning rate, one for each seed.
        grid: of all learning rates, of the seed by which they are chosen.
    """

    case: Case
    arenas: tuple[int, ...]
    parameters: tuple[int, ...]
    bounds: tuple[int, ...]
    records: tuple[Record, ...]
    grid: tuple[Record, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the seeds, of the test images of all classes."""
        return statistics.fmean(record.test.all for record in self.records)


@dataclass(frozen=True, slots=True)
class Claim:
    """What the page says, and whether it was measured."""

    text: str
    holds: bool


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Return what is claimed of the mean accuracies."""
    of = {row.case: row for row in rows}
    found = []

    def above(more: Case, less: Case, text: str) -> None:
        if more in of and less in of:
            ours, theirs = of[more].accuracy, of[less].accuracy
            found.append(Claim(f"{text} ({ours:.1%} and {theirs:.1%})", ours > theirs))

    planned, full = Case(PLANNED, "aware"), Case(FULL, "aware")
    above(planned, Case(HEAD, "none"), f"the plan for {BUDGET} learns more than the head alone")
    for method in (BIASES, BIASES_AND_HEAD):
        above(planned, Case(method, "aware"), f"it learns more than an update of {method.name}")
    for case, name in ((planned, f"the plan for {BUDGET}"), (full, "the full update")):
        for less, text in (
            (Case(case.method, "plain"), "without quantization-aware scaling it falls behind"),
            (Case(case.method, "apart"), "also where the head then has a learning rate of its own"),
        ):
            above(case, less, f"{name}: {text}")
    return found


def table(rows: Sequence[Row], before: Sequence[Accuracy]) -> str:
    """Return the table of results.

    Args:
        before: of each seed, in int8, before the adaptation.
    """
    header = (
        "updated", "scaling", "arena", "of it parameters", "rate", "loss, first", "last",
        "integers moved", "accuracy", "held back", "old",
    )  # fmt: skip
    lines = [("nothing", *["-"] * 7, *_accuracies(before))]
    for row in rows:
        records = row.records
        lines.append(
            (
                row.case.method.name,
                _SCALING[row.case.scaling],
                _bytes(row.arenas),
                _bytes(row.parameters),
                f"{records[0].rate:g}",
                _number(statistics.fmean(record.first_loss for record in records)),
                _number(statistics.fmean(record.last_loss for record in records)),
                "-"
                if row.case.scaling == "none"
                else f"{statistics.fmean(record.changed for record in records):.1%}",
                *_accuracies([record.test for record in records]),
            )
        )
    return markdown_table(header, lines, left=2)


def rate_table(rows: Sequence[Row]) -> str:
    """Return the validation accuracies that the learning rates were chosen by."""
    width = max(len(row.grid) for row in rows)
    header = ("updated", "scaling", *["rate: accuracy"] * width)
    lines = [
        (
            row.case.method.name,
            _SCALING[row.case.scaling],
            *(_choice(record, row.records[0].rate) for record in row.grid),
        )
        for row in rows
    ]
    return markdown_table(header, lines, left=2)


def curve_table(curves: Mapping[Case, Curves]) -> str:
    """Return how long the losses of both executors stay together."""
    header = (
        "updated", "scaling", "steps", "together until", "largest difference until then",
        "largest of all", "mean loss, C", "torch", "integers that differ in the end",
    )  # fmt: skip
    lines = [
        (
            case.method.name,
            _SCALING[case.scaling],
            str(found.steps),
            "the end" if found.apart_from is None else f"step {found.apart_from}",
            f"{found.largest_before:.0e}",
            f"{found.largest:.0e}",
            *(f"{mean:.4f}" for mean in found.means),
            f"{found.integers_apart:.2%}",
        )
        for case, found in curves.items()
    ]
    return markdown_table(header, lines, left=2)


def _choice(record: Record, chosen: float) -> str:
    text = f"{record.rate:g}: {record.validation.all:.1%}"
    return f"**{text}**" if record.rate == chosen else text


def _accuracies(found: Sequence[Accuracy]) -> tuple[str, str, str]:
    return (
        _percent([each.all for each in found]),
        _percent([each.held_back for each in found]),
        _percent([each.old for each in found]),
    )


def _percent(values: Sequence[float]) -> str:
    mean, spread = mean_and_spread(values)
    return f"{100 * mean:.1f} ± {100 * spread:.1f} %"


def _bytes(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0e}"


_SECTION = """\
| measured by | `{command}` |
| --- | --- |
| on | {date}, commit {commit} (`+`: with changes) |
| machine | {machine} |
| versions | {versions} |

{steps} steps each; mean of {seeds} seeds, ± half of the way from the smallest to the largest. The
seed is that of the split, the network's first weights, the pre-training, and the order of images.
Accuracies are of test images that no training has seen.

{table}

* *Arena*: bytes of RAM that the plan lays out, *parameters* the part of it that stays from step to
  step. Everything but "everything" is planned for {budget}. A full update in int8 is proved to
  need at least {bound:,} bytes, in any way that the graph offers; its plan has {plenty} to use.
* *Loss*: mean of the first and of the last 100 steps, each on an image as it comes.
* *Integers moved*: those of the updated weights and biases that are not what they were.

### What is claimed

`make learn` fails where one of these was not measured.

{claims}

### Learning rates

Chosen with the first seed by its validation images: the best accuracy, of equals the lower loss at
the end. Each has {grid} to choose from.

{rates}

### Both executors

The first steps of the first seed again, image by image, in generated C and in the torch executor,
each going on from its own weights. Losses are *together* as long as they differ by less than
{close:g} of the mean loss.

{curves}

Where they part, a gradient that differs in its last digits has moved one integer to the other side
of a half, and from there on the two train different networks. That it is no more than this is
checked step by step: from the weights that the C executor has after {checked} steps, one step is
made in both, and what it changes agrees, integers but for ties in rounding. `make learn` fails
where it does not, or where the means of both curves differ by more than 5 %.
"""


def section(
    rows: Sequence[Row],
    before: Sequence[Accuracy],
    curves: Mapping[Case, Curves],
    made: Sequence[Claim],
    command: str,
    checked: Sequence[int],
) -> str:
    """Return the measured part of the document."""
    full = next(row for row in rows if row.case.method == FULL)
    lines = [
        f"* {'Holds' if claim.holds else '**Does not hold**'}: {claim.text}." for claim in made
    ]
    return _SECTION.format(
        command=command,
        date=datetime.now(UTC).date(),
        commit=commit(),
        machine=describe_machine(),
        versions=versions(),
        steps=f"{rows[0].records[0].steps:,}",
        seeds=len(before),
        table=table(rows, before),
        budget=BUDGET,
        bound=min(full.bounds),
        plenty=FULL.budget,
        claims="\n".join(lines),
        grid=len(rows[0].grid),
        rates=rate_table(rows),
        close=CLOSE,
        curves=curve_table(curves),
        checked=", ".join(map(str, checked)),
    )
