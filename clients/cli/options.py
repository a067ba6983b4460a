"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from memplan.ir.graph import (
    BatchNorm,
    LossKind,
    LossTarget,
    Mode,
    OptimizerKind,
    QuantizationScheme,
)

__all__ = [
    "STEP",
    "BatchNormOption",
    "DataOption",
    "FormatOption",
    "InputOption",
    "InputStreamedOption",
    "LearningRateOption",
    "LossOption",
    "ModeOption",
    "ModelArgument",
    "OptimizerOption",
    "QasOption",
    "QuantizeOption",
    "TargetOption",
    "TrustOption",
    "WeightsOutOption",
    "parse_size",
]

STEP = "The step to plan (a graph file has these inside)"
MODEL = "Reading the model"

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help=".pt2, .pt, package.module:function, or a graph file.",
        show_default=False,
    ),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--mode", help="One training step or one inference. Default train.", rich_help_panel=STEP
    ),
]
LossOption = Annotated[
    LossKind | None,
    typer.Option("--loss", help="Default cross_entropy.", rich_help_panel=STEP),
]
TargetOption = Annotated[
    LossTarget | None,
    typer.Option(
        "--target",
        help="What the loss compares with: labels, or the model's own input (autoencoders, "
        "language models). Default labels.",
        rich_help_panel=STEP,
    ),
]
OptimizerOption = Annotated[
    OptimizerKind | None,
    typer.Option(
        "--optimizer", help="Its state is persistent memory. Default sgd.", rich_help_panel=STEP
    ),
]
LearningRateOption = Annotated[
    float | None,
    typer.Option("--lr", metavar="RATE", help="Learning rate. Default 0.01.", rich_help_panel=STEP),
]
BatchNormOption = Annotated[
    BatchNorm | None,
    typer.Option(
        "--batch-norm",
        help="frozen: folded into the weights; train: batch statistics, so that micro-batch = "
        "batch. Default frozen.",
        rich_help_panel=STEP,
    ),
]
QuantizeOption = Annotated[
    QuantizationScheme | None,
    typer.Option(
        "--quantize",
        help="int8: convolutions, sums and pools in integers, ranges from --data; gradients and "
        "the last layer stay in float32. Default none.",
        rich_help_panel=STEP,
    ),
]
QasOption = Annotated[
    bool | None,
    typer.Option(
        "--qas/--no-qas",
        help="Scale updates of int8 weights as those of the real weights. Default: on.",
        rich_help_panel=STEP,
    ),
]
InputStreamedOption = Annotated[
    bool | None,
    typer.Option(
        "--input-streamed/--input-resident",
        help="The input image comes row by row from a callback of the program, so it takes no "
        "memory. Default: resident.",
        rich_help_panel=STEP,
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="npz with arrays x and y: measures the importance of layers and channels, and the "
        "ranges of int8 activations.",
        rich_help_panel=MODEL,
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE:DTYPE",
        help="Inputs of a .pt, batch included, such as 2x3x32x32:float32. Repeat for several.",
        rich_help_panel=MODEL,
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        metavar="",
        help="Let the file run code of its own, as pickles can. Only for files that you made.",
        rich_help_panel=MODEL,
    ),
]
WeightsOutOption = Annotated[
    Path | None,
    typer.Option(
        "--weights-out",
        metavar="FILE",
        help="Write the weights that plan run needs (safetensors).",
        rich_help_panel="Output",
    ),
]
FormatOption = Annotated[
    Literal["text", "json"],
    typer.Option("--format", help="json: one object on stdout.", rich_help_panel="Output"),
]


def parse_size(text: str, flag: str) -> int:
    """Return the bytes that the text of an option means.

    Raises:
        RequestError: it is no size; the message names the option.
    """
    from memplan.ir.errors import RequestError
    from memplan.ir.units import parse_bytes

    try:
        return parse_bytes(text)
    except RequestError as failure:
        raise RequestError(f"{flag}: {failure}") from None
