"""``plan export PLAN --to c -o DIR``: a plan as source code for other machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import FormatOption

if TYPE_CHECKING:
    import torch

    from memplan.clients.export.c import Project
    from memplan.ir.graph import OpGraph
    from memplan.ir.plan import Plan

__all__ = ["export"]


def export(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="[GRAPH] PLAN",
            help="Written by plan MODEL -o. The graph that the plan is for is looked for beside "
            "it, unless it is named.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="New or empty folder.", show_default=False
        ),
    ],
    to: Annotated[Literal["c"], typer.Option("--to", help="C11, for hosts and devices.")] = "c",
    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph",
            metavar="FILE",
            help="Written by plan trace or --graph-out. Default: the file beside PLAN that has the "
            "hash that the plan names.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Written by --weights-out, or the .pt2 itself. Default: weights.safetensors "
            "beside PLAN.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="npz with arrays x and y, whose first batch make run uses. Default: random.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of random data.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Replace a project that is in DIR.")
    ] = False,
    format: FormatOption = "text",
) -> int:
    """Write a plan as a C project that builds by itself, with no library.

    The project has the steps of the plan with every address as a constant, the kernels that it
    uses, the weights as constants, and mains for this machine and for boards. make -C DIR run runs
    a step, make -C DIR check compares it bit by bit with a run in which no memory is shared, and
    runs it under the address sanitizer. The plan is checked first.

    Examples: plan export plan.json -o build/project; plan export graph.json plan.json --to c -o
    build/project --weights net.pt2

    Exit codes: 0 done, 2 usage, 3 bad file, or operations of the plan have no kernel: all of them
    are listed.
    """
    from memplan.clients import pipeline
    from memplan.clients.export.c import check_folder, write_project
    from memplan.ir.check import require
    from memplan.ir.errors import RequestError

    if len(files) > 2 or (len(files) == 2 and graph is not None):
        raise RequestError("name a plan, or a graph and a plan; plan export --help shows how")
    plan_file = files[-1]
    check_folder(out, force=force)
    plan = pipeline.read_plan(plan_file)
    graph_file = files[0] if len(files) == 2 else graph
    checked = pipeline.read_graph(graph_file) if graph_file else _graph_of(plan, plan_file)
    require(checked, plan)
    values = pipeline.read_weights(checked, _weights_beside(plan_file, weights))
    inputs = _samples(checked, plan, data, seed)
    from memplan.clients.executors.c.device import encode_samples
    from memplan.clients.executors.c.values import first_values, input_parts
    from memplan.clients.export.c.plan_source import input_names

    samples = encode_samples([input_parts(checked, plan, input_names(checked, plan), inputs)])
    project = write_project(
        checked, plan, first_values(checked, plan, values), out, samples=samples, force=force
    )
    if format == "json":
        typer.echo(json.dumps(_summary(checked, plan, project), indent=2))
    else:
        _print(checked, plan, project)
    return ExitCode.YES


def _graph_of(plan: Plan, plan_file: Path) -> OpGraph:
    """Return the graph beside a plan that has the hash that the plan names."""
    from memplan.clients import pipeline
    from memplan.ir.errors import MemplanError, RequestError
    from memplan.ir.limits import MAX_JSON_BYTES

    wanted = plan.certificate.graph_hash
    folder = plan_file.absolute().parent
    for path in sorted(folder.glob("*.json")):
        if path.absolute() == plan_file.absolute() or path.stat().st_size > MAX_JSON_BYTES:
            continue
        if b'"memplan.graph/' not in path.read_bytes():
            continue
        try:
            found = pipeline.read_graph(path)
        except MemplanError:  # some other graph that is broken is not our business
            continue
        if found.content_hash() == wanted:
            return found
    raise RequestError(
        f"the graph of {plan_file} ({wanted[:19]}...) is not among the files of its folder; name "
        "it with --graph (plan trace and --graph-out write it)"
    )


def _weights_beside(plan_file: Path, weights: Path | None) -> Path:
    from memplan.ir.errors import RequestError

    if weights is not None:
        return weights
    beside = plan_file.absolute().parent / "weights.safetensors"
    if not beside.is_file():
        raise RequestError(
            f"there is no weights.safetensors beside {plan_file}; name the weights with --weights "
            "(plan --weights-out writes them; a .pt2 will do)"
        )
    return beside


def _samples(
    graph: OpGraph, plan: Plan, data: Path | None, seed: int
) -> Mapping[str, torch.Tensor]:
    from memplan.clients.cli.samples import inputs_of_file, random_inputs

    if data is None:
        return random_inputs(graph, plan.batch, seed)
    return inputs_of_file(graph, plan.batch, data, micro_batch=plan.micro_batch)


def _summary(graph: OpGraph, plan: Plan, project: Project) -> dict[str, Any]:
    return {
        "model": graph.name,
        "mode": graph.mode,
        "folder": str(project.folder),
        "arena_bytes": project.arena_bytes,
        "budget_bytes": plan.request.budget_bytes,
        "constant_bytes": project.constant_bytes,
        "steps": len(plan.steps),
        "trips": plan.trips,
        "kernels": list(project.kernels),
        "files": list(project.files),
    }


def _print(graph: OpGraph, plan: Plan, project: Project) -> None:
    from memplan.clients.report.wording import printable
    from memplan.ir.units import format_bytes

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")

    def row(name: str, text: str) -> None:
        table.add_row(Text(name), Text(text))

    trips = "" if plan.trips == 1 else f" in {plan.trips} trips of {plan.micro_batch}"
    step = "a training step" if graph.mode == "train" else "an inference"
    row("exported", f"{printable(graph.name)}: {step} of a batch of {plan.batch}{trips}")
    row("arena", f"{format_bytes(project.arena_bytes)} ({project.arena_bytes:,} B)")
    row("constants", f"{format_bytes(project.constant_bytes)} ({project.constant_bytes:,} B)")
    row("steps", f"{len(plan.steps)} in plan.c; plan.h lists them with what they read and write")
    row("kernels", f"{len(project.kernels)}: {', '.join(project.kernels)}")
    row("files", f"{len(project.files)} in {printable(str(project.folder))}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"\nnext  make -C {printable(str(project.folder))} run\n"
        f"      make -C {printable(str(project.folder))} check",
        markup=False,
    )
