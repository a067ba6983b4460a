"""``plan pack FILE.csv --capacity N|min``: addresses for buffers with given lifetimes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import FormatOption, parse_size

__all__ = ["pack"]

_EXITS = {
    "optimal": ExitCode.YES,
    "feasible": ExitCode.YES,
    "infeasible": ExitCode.NO,
    "undecided": ExitCode.UNDECIDED,
}


def pack(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="Columns id, lower, upper, size and perhaps alignment, in any order.",
            show_default=False,
        ),
    ],
    capacity: Annotated[
        str,
        typer.Option(
            "--capacity",
            metavar="BYTES|min",
            help="Bytes to pack into, such as 262144 or 256KB; min: as few as possible.",
        ),
    ] = "min",
    alignment: Annotated[
        int,
        typer.Option(
            "--alignment",
            metavar="N",
            min=1,
            help="Offsets are multiples of it, for buffers without an alignment in the file.",
        ),
    ] = 1,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", help="For the search.")
    ] = 30.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the search.")] = 0,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Parallel searches.")
    ] = 2,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the JSON here.")
    ] = None,
    format: FormatOption = "text",
) -> int:
    """Give buffers their addresses: no two that live at once share a byte.

    Each buffer takes size bytes over the half-open interval of time [lower, upper). A result is
    checked, by code that the search does not share, before it is printed. Ctrl-C ends the search
    early, with the best packing so far.

    Exit codes: 0 packed, 1 proved not to fit, 2 usage, 3 bad file, 4 undecided in the time limit.
    """
    from memplan.clients import facade
    from memplan.clients.cli.files import must_be_writable, write_text
    from memplan.clients.cli.interrupt import run_interruptible
    from memplan.ir.packing import read_buffers

    must_be_writable(output, "-o")
    size = capacity if capacity == "min" else parse_size(capacity, "--capacity")
    buffers = read_buffers(file, alignment)
    answer = run_interruptible(
        lambda stop: facade.pack(
            buffers,
            size,
            time_limit=time_limit,
            seed=seed,
            workers=workers,
            stop=stop,
        ),
        lambda: typer.echo("stopping; the best packing so far is the answer", err=True),
    )
    text = json.dumps(_document(answer), indent=2, ensure_ascii=False)
    if output is not None:
        write_text(output, text + "\n")
    if format == "json":
        typer.echo(text)
    else:
        from memplan.clients.report.packing_text import packing_report

        typer.echo(packing_report(buffers, answer))
    return _EXITS[answer.status]


def _document(answer: Any) -> dict[str, Any]:
    document = asdict(answer)
    buffers = document.pop("buffers")
    return {**document, "buffers": buffers}
