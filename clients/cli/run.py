"""``plan run GRAPH PLAN``: execute a planned step in one preallocated arena."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import FormatOption, InputOption, TrustOption

if TYPE_CHECKING:
    from memplan.clients.cli.comparing import Verdict
    from memplan.clients.executors.torch import StepResult
    from memplan.ir.graph import OpGraph
    from memplan.ir.plan import Plan

__all__ = ["run"]


def run(
    graph: Annotated[
        Path, typer.Argument(metavar="GRAPH", help="Written by plan trace or --graph-out.")
    ],
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Written by plan MODEL -o.")],
    weights: Annotated[
        Path,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Written by --weights-out, or the .pt2 itself.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="npz with arrays x and y, of which the first are used. Default: random, seeded.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="autograd|MODEL",
            help="Compare gradients, updated weights and loss with PyTorch's autograd of the same "
            "forward pass, or of the original model.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, max=100_000, help="Steps on the batch.")
    ] = 1,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, help="Of random data and dropout.")
    ] = 0,
    debug: Annotated[
        bool,
        typer.Option("--debug", metavar="", help="Poison every byte when it dies."),
    ] = False,
    inputs: InputOption = None,
    trust: TrustOption = False,
    format: FormatOption = "text",
) -> int:
    """Run a planned step: every tensor of the plan lives in one arena of the plan's size.

    What libraries allocate outside of it while they work is measured and printed.

    Exit codes: 0 done and, with --against, the numbers agree; 1 they differ; 2 usage; 3 bad file.
    """
    from memplan.clients import pipeline
    from memplan.clients.cli.progress import Reporter
    from memplan.ir.check import require
    from memplan.ir.errors import DataError, RequestError

    checked_graph, checked_plan = pipeline.read_graph(graph), pipeline.read_plan(plan)
    require(checked_graph, checked_plan)
    if against not in (None, "autograd"):
        pipeline.must_be_model(against)
    if steps > 1 and against not in (None, "autograd"):
        raise RequestError("--against MODEL compares one step; leave --steps out")
    with Reporter(Console(stderr=True)) as reporter:
        reporter.stage("reading the weights")
        values = pipeline.read_weights(checked_graph, weights)
        from memplan.clients.cli.comparing import Trial, compare_with
        from memplan.clients.cli.samples import explain_loss, inputs_of_file, random_inputs
        from memplan.clients.executors.torch import run_step
        from memplan.clients.executors.torch.threads import one_thread

        batch = checked_plan.batch
        samples = (
            random_inputs(checked_graph, batch, seed)
            if data is None
            else inputs_of_file(checked_graph, batch, data, micro_batch=checked_plan.micro_batch)
        )
        trial = Trial(values, samples, seed, steps)

        def run_again(trial: Trial, measure_scratch: bool = False) -> StepResult:
            return run_step(
                checked_graph,
                checked_plan,
                trial.weights,
                trial.samples,
                seed=trial.seed,
                debug=debug,
                steps=trial.steps,
                keep_gradients=against is not None and checked_graph.mode == "train",
                measure_scratch=measure_scratch,
            )

        with nullcontext() if against is None else one_thread():
            reporter.stage("running")
            result = run_again(trial, measure_scratch=True)
            if data is not None and result.loss is not None and not math.isfinite(result.loss):
                raise DataError(explain_loss(result.loss, steps, samples, str(data)))
            verdict = None
            if against is not None:
                reporter.stage(f"comparing with {against}")
                verdict = compare_with(
                    against,
                    checked_graph,
                    checked_plan,
                    trial,
                    result,
                    run=run_again,
                    redraw=(lambda other: random_inputs(checked_graph, batch, other))
                    if data is None
                    else None,
                    inputs=inputs or [],
                    trust=trust,
                )
    if format == "json":
        typer.echo(json.dumps(_summary(checked_graph, checked_plan, result, verdict), indent=2))
    else:
        source = "seeded random data" if data is None else data.name
        _print(checked_graph, checked_plan, result, verdict, source)
    return ExitCode.YES if verdict is None or verdict.agrees else ExitCode.NO


def _summary(
    graph: OpGraph, plan: Plan, result: StepResult, verdict: Verdict | None
) -> dict[str, Any]:
    scratch = result.scratch
    return {
        "model": graph.name,
        "mode": graph.mode,
        "batch": plan.batch,
        "micro_batch": plan.micro_batch,
        "trips": plan.trips,
        "steps": result.steps,
        "arena_bytes": result.arena_bytes,
        "budget_bytes": plan.request.budget_bytes,
        "loss": result.loss,
        "seconds": result.seconds,
        "updated_parameters": sorted(result.updated),
        "outside_peak_bytes": result.outside_peak_bytes,
        "outside_operations": []
        if scratch is None
        else [
            {"operation": item.operation, "target": item.target, "peak_bytes": item.peak_bytes}
            for item in scratch.operations
        ],
        "against": None if verdict is None else verdict.as_json(),
    }


def _print(
    graph: OpGraph, plan: Plan, result: StepResult, verdict: Verdict | None, source: str
) -> None:
    from memplan.clients.report.terminal import printable
    from memplan.ir.units import format_bytes

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")

    def row(name: str, text: str, style: str = "") -> None:
        table.add_row(Text(name), Text(text, style=style))

    trips = "" if plan.trips == 1 else f" in {plan.trips} trips of {plan.micro_batch}"
    times = "" if result.steps == 1 else f"{result.steps} times "
    row("ran", f"{printable(graph.name)}: {times}a batch of {plan.batch}{trips}, {source}")
    row(
        "arena",
        f"{format_bytes(result.arena_bytes)} ({result.arena_bytes:,} B) for all tensors of the "
        f"plan; budget {plan.request.budget_bytes:,} B",
    )
    if result.scratch is not None:
        text = f"{format_bytes(result.scratch.peak_bytes)} at most, inside library calls"
        if result.scratch.operations:
            text += f" ({printable(result.scratch.operations[0].operation, 30)})"
        row("outside", text)
    if result.loss is not None:
        row("loss", f"{result.loss:.6f}")
        row("updated", f"{len(result.updated)} parameters")
    row("time", f"{1000 * result.seconds:.1f} ms a step")
    if verdict is not None:
        word, style = ("agrees with", "green") if verdict.agrees else ("DIFFERS from", "bold red")
        detail = printable(verdict.detail, 400)
        row("compared", f"{word} {printable(verdict.reference)}: {detail}", style)
        for note in verdict.notes:
            row("", printable(note, 400))
    Console(highlight=False).print(table)
