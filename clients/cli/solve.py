"""``plan MODEL --budget 256KB``: model and budget in, plan out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import (
    BatchNormOption,
    DataOption,
    FormatOption,
    InputOption,
    InputStreamedOption,
    LearningRateOption,
    LossOption,
    ModelArgument,
    ModeOption,
    OptimizerOption,
    QasOption,
    QuantizeOption,
    TargetOption,
    TrustOption,
    WeightsOutOption,
)

if TYPE_CHECKING:
    from memplan.clients.pipeline import Update, Word
    from memplan.ir.answer import Answer

__all__ = ["solve"]

CHOICES = "What the plan may choose"
SEARCH = "The search"


def solve(
    model: ModelArgument,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="BYTES",
            help="Bytes that may be written at run time: 262144, 256KB, 1.5MB (KB is 1024 bytes).",
            show_default=False,
        ),
    ],
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Samples per step. Default: the batch of the example inputs.",
            rich_help_panel=CHOICES,
        ),
    ] = None,
    micro_batch: Annotated[
        str,
        typer.Option(
            "--micro-batch",
            metavar="auto|N",
            help="Samples at a time; gradients add up to the batch.",
            rich_help_panel=CHOICES,
        ),
    ] = "auto",
    update: Annotated[
        str,
        typer.Option(
            "--update",
            metavar="auto|full|last-layer|bias|FILE",
            help="What is trained. auto chooses layers and channels by importance; FILE is a "
            "JSON list of layer, bias, weight, channels.",
            rich_help_panel=CHOICES,
        ),
    ] = "auto",
    criterion: Annotated[
        Literal["tinytrain", "fisher", "contribution", "uniform"],
        typer.Option("--criterion", help="Importance that auto goes by.", rich_help_panel=CHOICES),
    ] = "tinytrain",
    contributions: Annotated[
        Path | None,
        typer.Option(
            "--contributions",
            metavar="FILE",
            help="For --criterion contribution: JSON object from layer to gain.",
            rich_help_panel=CHOICES,
        ),
    ] = None,
    compute_limit: Annotated[
        str,
        typer.Option(
            "--compute-limit",
            metavar="RATIO|none",
            help="Most extra MACs by recomputing, relative to one forward pass.",
            rich_help_panel=CHOICES,
        ),
    ] = "1.0",
    computations: Annotated[
        int | None,
        typer.Option(
            "--computations",
            metavar="N",
            min=1,
            max=16,
            help="Most computations of one operation; without it there is no limit.",
            rich_help_panel=CHOICES,
        ),
    ] = None,
    stream_inputs: Annotated[
        bool,
        typer.Option(
            "--stream-inputs",
            metavar="",
            help="Samples are loaded per micro-batch, not kept as a whole batch.",
            rich_help_panel=CHOICES,
        ),
    ] = False,
    mode: ModeOption = None,
    loss: LossOption = None,
    target: TargetOption = None,
    optimizer: OptimizerOption = None,
    lr: LearningRateOption = None,
    batch_norm: BatchNormOption = None,
    quantize: QuantizeOption = None,
    qas: QasOption = None,
    input_streamed: InputStreamedOption = None,
    data: DataOption = None,
    inputs: InputOption = None,
    trust: TrustOption = False,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit", metavar="SECONDS", help="For the search.", rich_help_panel=SEARCH
        ),
    ] = 30.0,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="The time limit counts work done, not the clock: the same plan every time.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option("--seed", metavar="N", min=0, help="Of the search.", rich_help_panel=SEARCH),
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=1, help="Parallel searches.", rich_help_panel=SEARCH
        ),
    ] = 2,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the plan (JSON).",
            rich_help_panel="Output",
        ),
    ] = None,
    graph_out: Annotated[
        Path | None,
        typer.Option(
            "--graph-out", metavar="FILE", help="Write the graph (JSON).", rich_help_panel="Output"
        ),
    ] = None,
    weights_out: WeightsOutOption = None,
    format: FormatOption = "text",
) -> int:
    """Find an execution plan that keeps a budget, and prove it.

    The order of the operations, which of them run twice, the micro-batch, which layers and
    channels are updated, and the address of every tensor in one arena are chosen together.

    Ctrl-C ends the search early with the best plan so far; a second one aborts.

    Exit codes: 0 fits, 1 proved not to fit, 2 usage, 3 bad model or data, 4 undecided.
    """
    from memplan.clients import pipeline
    from memplan.clients.cli.files import must_be_writable, write_text
    from memplan.clients.cli.interrupt import run_interruptible
    from memplan.clients.cli.progress import Reporter
    from memplan.clients.cli.source import open_source
    from memplan.ir.errors import RequestError
    from memplan.ir.units import parse_bytes

    for path, flag in ((output, "-o"), (graph_out, "--graph-out"), (weights_out, "--weights-out")):
        must_be_writable(path, flag)
    request_options = pipeline.RequestOptions(
        budget=parse_bytes(budget),
        batch=batch,
        micro_batch=_micro_batch(micro_batch),
        update=_update(update),
        criterion=criterion,
        contributions=_contributions(criterion, contributions),
        compute_limit=_compute_limit(compute_limit),
        computations=computations,
        stream_inputs=stream_inputs,
        time_limit_seconds=time_limit,
        deterministic=deterministic,
        seed=seed,
        workers=workers,
    )
    pipeline.check_options(request_options)
    graph_options = pipeline.GraphOptions(
        mode=mode,
        loss=loss,
        target=target,
        optimizer=optimizer,
        learning_rate=lr,
        batch_norm=batch_norm,
        quantize=quantize,
        quantization_aware_scaling=qas,
        input_streamed=input_streamed,
    )
    stderr = Console(stderr=True)
    with Reporter(stderr) as reporter:
        source = open_source(
            model,
            graph_options,
            inputs or [],
            data,
            trust,
            reporter,
            batch=batch,
            needs_weights=weights_out is not None,
        )
        graph = source.graph
        if update != "auto" and graph.mode == "infer":
            raise RequestError("--update: nothing is updated in an inference; leave the flag out")
        request = pipeline.build_request(graph, request_options)
        if graph_out is not None:
            write_text(graph_out, graph.to_json())
        if weights_out is not None:
            reporter.stage("weights")
            source.write_weights(weights_out)
        reporter.stage("solving")
        answer = run_interruptible(
            lambda stop: pipeline.solve(graph, request, reporter.solving, stop),
            lambda: reporter.note("stopping with the best plan so far; Ctrl-C again aborts"),
        )
        if output is not None and answer.plan is not None:
            write_text(output, answer.plan.to_json())
    if output is not None and answer.plan is None:
        stderr.print(f"there is no plan, so {output} was not written", soft_wrap=True, markup=False)

    from memplan.clients.report.summary import summarize

    if format == "json":
        typer.echo(json.dumps(summarize(graph, request, answer), indent=2, ensure_ascii=False))
    else:
        from memplan.clients.report.terminal import plan_report

        stdout = Console(highlight=False)
        stdout.print(plan_report(graph, request, answer, stdout))
        steps = _next_steps(answer, model, source.is_graph_file, graph_out, output, weights_out)
        for index, step in enumerate(steps):
            # soft_wrap: a command that is copied has no line breaks of ours in it.
            stdout.print(
                Text.assemble(("next  " if index == 0 else "      ", "bold"), (step, "cyan")),
                soft_wrap=True,
            )
    return _exit_code(answer)


def _exit_code(answer: Answer) -> ExitCode:
    return {"infeasible": ExitCode.NO, "undecided": ExitCode.UNDECIDED}.get(
        answer.status, ExitCode.YES
    )


def _micro_batch(text: str) -> Literal["auto"] | int:
    from memplan.ir.errors import RequestError

    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"--micro-batch {text}: write auto, or a whole number that divides the batch"
        ) from None


def _compute_limit(text: str) -> float | None:
    from memplan.ir.errors import RequestError

    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"--compute-limit {text}: write a number such as 1.0, or none") from None


def _update(text: str) -> Update:
    from memplan.clients.cli.files import read_mask

    words: tuple[Word, ...] = ("auto", "full", "last-layer", "bias")
    return next((word for word in words if word == text), None) or read_mask(Path(text))


def _contributions(criterion: str, path: Path | None) -> dict[str, float] | None:
    from memplan.clients.cli.files import read_contributions
    from memplan.ir.errors import RequestError

    if (criterion == "contribution") != (path is not None):
        raise RequestError(
            "--criterion contribution and --contributions FILE go together: the file is a JSON "
            "object from layer to gain"
        )
    return None if path is None else read_contributions(path)


def _next_steps(
    answer: Answer,
    model: str,
    is_graph_file: bool,
    graph: Path | None,
    plan: Path | None,
    weights: Path | None,
) -> list[str]:
    """Return the commands that a person is likely to want now."""
    if is_graph_file:
        graph = Path(model)
    if answer.plan is None:
        smallest = answer.smallest_found_bytes
        if smallest is not None and smallest > 0:
            return [f"the same with --budget {smallest}, of which a plan was found"]
        if answer.status == "infeasible":
            return [f"a --budget of at least {answer.lower_bound_bytes}, or a remedy from above"]
        return ["a longer --time-limit, a larger --budget, or a smaller --batch"]
    if graph is None or plan is None:
        missing = [
            f"{flag} {name}"
            for flag, name, given in (
                ("-o", "plan.json", plan),
                ("--graph-out", "graph.json", graph),
                ("--weights-out", "weights.safetensors", weights),
            )
            if given is None and not (is_graph_file and flag == "--weights-out")
        ]
        purpose = "to keep the plan" if is_graph_file else "to keep the plan and run it"
        return [f"add {' '.join(missing)} {purpose}"]
    steps = [shlex.join(["plan", "verify", str(graph), str(plan)])]
    if weights is not None:
        steps.append(
            shlex.join(["plan", "run", str(graph), str(plan), "--weights", str(weights)])
            + " --against autograd"
        )
    return steps
