"""``plan MODEL --budget 256KB``: model and budget in, plan out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    parse_size,
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
    parse_compute_limit,
    parse_contributions,
    parse_micro_batch,
    parse_update,
)

if TYPE_CHECKING:
    from memplan.ir.answer import Answer

__all__ = ["solve"]


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
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            metavar="FILE",
            help="Go on from a plan of the same graph, made for another budget say: it is repaired "
            "and improved, which takes about an eighth of the time limit.",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None,
    believe_start: Annotated[
        bool,
        typer.Option(
            "--believe-start",
            metavar="",
            help="Bounds in the certificate of --start count where they hold: if the budget is not "
            "larger. Only for plans that you made.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    time_limit: Annotated[
        float,
        typer.Option(
            "--time-limit", metavar="SECONDS", help="For the search.", rich_help_panel=SEARCH
        ),
    ] = 30.0,
    deterministic: DeterministicOption = False,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
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
    graph_out: GraphOutOption = None,
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
    from memplan.clients.cli.loading import load_solver
    from memplan.clients.cli.progress import Reporter
    from memplan.clients.cli.source import open_source
    from memplan.ir.errors import RequestError

    for path, flag in ((output, "-o"), (graph_out, "--graph-out"), (weights_out, "--weights-out")):
        must_be_writable(path, flag)
    request_options = pipeline.RequestOptions(
        budget=parse_size(budget, "--budget"),
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
    pipeline.check_options(request_options)
    if believe_start and start is None:
        raise RequestError("--believe-start: there is no --start to believe")
    stored = None if start is None else pipeline.read_plan(start)
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
        load_solver(reporter)
        reporter.stage("solving")
        answer = run_interruptible(
            lambda stop: pipeline.solve(
                graph, request, reporter.solving, stop, stored, believe_start
            ),
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
