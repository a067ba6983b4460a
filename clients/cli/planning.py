"""Options of planning, which several commands share, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from memplan.clients.pipeline import Update, Word

__all__ = [
    "CHOICES",
    "SEARCH",
    "BatchOption",
    "ComputationsOption",
    "ComputeLimitOption",
    "ContributionsOption",
    "CriterionOption",
    "DeterministicOption",
    "GraphOutOption",
    "MicroBatchOption",
    "SeedOption",
    "StreamInputsOption",
    "UpdateOption",
    "WorkersOption",
    "parse_budgets_option",
    "parse_compute_limit",
    "parse_contributions",
    "parse_micro_batch",
    "parse_update",
]

CHOICES = "What the plan may choose"
SEARCH = "The search"

BatchOption = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="Samples per step. Default: the batch of the example inputs.",
        rich_help_panel=CHOICES,
    ),
]
MicroBatchOption = Annotated[
    str,
    typer.Option(
        "--micro-batch",
        metavar="auto|N",
        help="Samples at a time; gradients add up to the batch.",
        rich_help_panel=CHOICES,
    ),
]
UpdateOption = Annotated[
    str,
    typer.Option(
        "--update",
        metavar="auto|full|last-layer|bias|FILE",
        help="What is trained. auto chooses layers and channels by importance; FILE is a "
        "JSON list of layer, bias, weight, channels.",
        rich_help_panel=CHOICES,
    ),
]
CriterionOption = Annotated[
    Literal["tinytrain", "fisher", "contribution", "uniform"],
    typer.Option("--criterion", help="Importance that auto goes by.", rich_help_panel=CHOICES),
]
ContributionsOption = Annotated[
    Path | None,
    typer.Option(
        "--contributions",
        metavar="FILE",
        help="For --criterion contribution: JSON object from layer to gain.",
        rich_help_panel=CHOICES,
    ),
]
ComputeLimitOption = Annotated[
    str,
    typer.Option(
        "--compute-limit",
        metavar="RATIO|none",
        help="Most extra MACs by recomputing, relative to one forward pass.",
        rich_help_panel=CHOICES,
    ),
]
ComputationsOption = Annotated[
    int | None,
    typer.Option(
        "--computations",
        metavar="N",
        min=1,
        max=16,
        help="Most computations of one operation; without it there is no limit.",
        rich_help_panel=CHOICES,
    ),
]
StreamInputsOption = Annotated[
    bool,
    typer.Option(
        "--stream-inputs",
        metavar="",
        help="Samples are loaded per micro-batch, not kept as a whole batch.",
        rich_help_panel=CHOICES,
    ),
]
DeterministicOption = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="The time limit counts work done, not the clock: the same plan every time.",
        rich_help_panel=SEARCH,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Of the search.", rich_help_panel=SEARCH),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", min=1, help="Parallel searches.", rich_help_panel=SEARCH
    ),
]
GraphOutOption = Annotated[
    Path | None,
    typer.Option(
        "--graph-out", metavar="FILE", help="Write the graph (JSON).", rich_help_panel="Output"
    ),
]


def parse_micro_batch(text: str) -> Literal["auto"] | int:
    """Return the micro-batch that a text names.

    Raises:
        RequestError: it names none.
    """
    from memplan.ir.errors import RequestError

    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"--micro-batch {text}: write auto, or a whole number that divides the batch"
        ) from None


def parse_budgets_option(text: str) -> int | list[int]:
    """Return how many budgets a text asks for, or the budgets that it lists.

    Raises:
        RequestError: it does neither.
    """
    from memplan.ir.errors import RequestError
    from memplan.ir.units import parse_budgets

    try:
        return parse_budgets(text)
    except RequestError as failure:
        raise RequestError(f"--budgets {failure}") from None


def parse_compute_limit(text: str) -> float | None:
    """Return the compute limit that a text names; None: no limit.

    Raises:
        RequestError: it names none.
    """
    from memplan.ir.errors import RequestError

    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"--compute-limit {text}: write a number such as 1.0, or none") from None


def parse_update(text: str) -> Update:
    """Return a word of ``--update``, or the mask of the file that it names.

    Raises:
        RequestError: it is neither.
    """
    from memplan.clients.cli.files import read_mask

    words: tuple[Word, ...] = ("auto", "full", "last-layer", "bias")
    return next((word for word in words if word == text), None) or read_mask(Path(text))


def parse_contributions(criterion: str, path: Path | None) -> dict[str, float] | None:
    """Return the table of ``--criterion contribution``, which goes with it and with nothing else.

    Raises:
        RequestError: one is given without the other, or the file is no such table.
    """
    from memplan.clients.cli.files import read_contributions
    from memplan.ir.errors import RequestError

    if (criterion == "contribution") != (path is not None):
        raise RequestError(
            "--criterion contribution and --contributions FILE go together: the file is a JSON "
            "object from layer to gain"
        )
    return None if path is None else read_contributions(path)
