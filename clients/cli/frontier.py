"""``plan frontier MODEL --budgets 20``: what a model does in more and more bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
)
from memplan.clients.cli.planning import (
    SEARCH,
    BatchOption,
    ComputationsOption,
    ComputeLimitOption,
    ContributionsOption,
    CriterionOption,
    DeterministicOption,
    GraphOutOption,
    MicroBatchOption,
    SeedOption,
    StreamInputsOption,
    UpdateOption,
    WorkersOption,
    parse_budgets_option,
    parse_compute_limit,
    parse_contributions,
    parse_micro_batch,
    parse_update,
)

if TYPE_CHECKING:
    from memplan.ir.frontier import Frontier

__all__ = ["frontier"]


def frontier(
    model: ModelArgument,
    budgets: Annotated[
        str,
        typer.Option(
            "--budgets",
            metavar="N|BYTES,BYTES,...",
            help="How many budgets, evenly from the smallest plan that is found to the one from "
            "which more bytes buy nothing; or a list such as 128KB,256KB,1MB.",
        ),
    ] = "20",
    batch: BatchOption = None,
    micro_batch: MicroBatchOption = "auto",
    update: UpdateOption = "auto",
    criterion: CriterionOption = "tinytrain",
    contributions: ContributionsOption = None,
    compute_limit: ComputeLimitOption = "1.0",
    computations: ComputationsOption = None,
    stream_inputs: StreamInputsOption = False,
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
            "--time-limit",
            metavar="SECONDS",
            help="For the searches of all budgets together.",
            rich_help_panel=SEARCH,
        ),
    ] = 120.0,
    deterministic: DeterministicOption = False,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the frontier with all plans (JSON).",
            rich_help_panel="Output",
        ),
    ] = None,
    plans: Annotated[
        Path | None,
        typer.Option(
            "--plans",
            metavar="DIR",
            help="Write each plan as DIR/plan-BUDGET.json, in bytes.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg",
            metavar="FILE",
            help="Draw importance and time over bytes.",
            show_default=False,
            rich_help_panel="Output",
        ),
    ] = None,
    graph_out: GraphOutOption = None,
    format: FormatOption = "text",
) -> int:
    """Plan a model within a range of budgets, such that more bytes never cost more.

    Budgets are not planned one by one: the plan of each is where the search for its neighbours
    begins, and a plan of fewer bytes is taken wherever nothing better is found for more. Every
    plan is checked and has its own certificate, as if it had been asked for alone.

    Ctrl-C ends the search early with what was found so far; a second one aborts.

    Exit codes: 0 some budget has a plan, 1 proved that none has, 2 usage, 3 bad model or data,
    4 undecided.
    """
    from memplan.clients import pipeline
    from memplan.clients.cli.files import must_be_writable, write_text
    from memplan.clients.cli.interrupt import run_interruptible
    from memplan.clients.cli.loading import load_solver
    from memplan.clients.cli.progress import Reporter
    from memplan.clients.cli.source import open_source
    from memplan.ir.errors import RequestError

    for path, flag in ((output, "-o"), (graph_out, "--graph-out"), (svg, "--svg")):
        must_be_writable(path, flag)
    if plans is not None and not plans.is_dir():
        raise RequestError(f"--plans {plans}: there is no such folder; create it first")
    wanted = parse_budgets_option(budgets)
    options = pipeline.RequestOptions(
        budget=1,  # each point has its own
        batch=batch,
        micro_batch=parse_micro_batch(micro_batch),
        update=parse_update(update),
        criterion=criterion,
        contributions=parse_contributions(criterion, contributions),
        compute_limit=parse_compute_limit(compute_limit),
        computations=computations,
        stream_inputs=stream_inputs,
        time_limit_seconds=time_limit,
        deterministic=deterministic,
        seed=seed,
        workers=workers,
    )
    pipeline.check_options(options)
    step = pipeline.GraphOptions(
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
    with Reporter(Console(stderr=True)) as reporter:
        source = open_source(
            model, step, inputs or [], data, trust, reporter, batch=batch, needs_weights=False
        )
        graph = source.graph
        if update != "auto" and graph.mode == "infer":
            raise RequestError("--update: nothing is updated in an inference; leave the flag out")
        request = pipeline.build_request(graph, options)
        if graph_out is not None:
            write_text(graph_out, graph.to_json())
        load_solver(reporter)
        reporter.stage("solving")
        found = run_interruptible(
            lambda stop: pipeline.frontier(graph, request, wanted, reporter.surveying, stop),
            lambda: reporter.note("stopping with what was found so far; Ctrl-C again aborts"),
        )
        if output is not None:
            write_text(output, found.to_json())
        if plans is not None:
            _write_plans(found, plans)
        if svg is not None:
            from memplan.clients.report.frontier_svg import frontier_svg

            write_text(svg, frontier_svg(graph, found))

    from memplan.clients.report.frontier import frontier_report, summarize_frontier

    if format == "json":
        document = summarize_frontier(graph, found)
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        stdout = Console(highlight=False)
        stdout.print(frontier_report(graph, found, stdout))
    return _exit_code(found)


def _write_plans(found: Frontier, folder: Path) -> None:
    from memplan.clients.cli.files import write_text

    for point in found.points:
        if point.answer.plan is not None:
            write_text(folder / f"plan-{point.budget_bytes}.json", point.answer.plan.to_json())


def _exit_code(found: Frontier) -> ExitCode:
    if found.plans:
        return ExitCode.YES
    proved = all(point.answer.status == "infeasible" for point in found.points)
    return ExitCode.NO if proved else ExitCode.UNDECIDED
