"""``plan verify GRAPH PLAN``: the independent checker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import FormatOption

if TYPE_CHECKING:
    from memplan.ir.frontier import Frontier
    from memplan.ir.graph import OpGraph

__all__ = ["verify"]

_SHOWN = 20


def verify(
    graph: Annotated[
        Path, typer.Argument(metavar="GRAPH", help="Written by plan trace or --graph-out.")
    ],
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="Written by plan MODEL -o, or plan frontier -o.")
    ],
    format: FormatOption = "text",
) -> int:
    """Replay a plan byte by byte against its graph, and say whether it holds.

    Every operand must be whole, of the right version and owned by the right tensor when it is
    read; no write may destroy a live byte; totals and objective are computed again.  Bounds and
    times cannot be verified, except that no bound may lie above the value it bounds.

    Of a frontier every plan is replayed, and more bytes must never cost more.

    Exit codes: 0 accepted, 1 rejected, 2 usage, 3 bad file.
    """
    from memplan.clients.pipeline import read_graph, read_plan_or_frontier
    from memplan.clients.report.wording import printable
    from memplan.ir.check import check
    from memplan.ir.frontier import Frontier
    from memplan.ir.units import format_bytes

    checked_graph, checked_plan = read_graph(graph), read_plan_or_frontier(plan)
    if isinstance(checked_plan, Frontier):
        return _verify_frontier(checked_graph, checked_plan, format)
    report = check(checked_graph, checked_plan)
    verdicts = [
        {
            "rule": str(verdict.rule),
            "message": verdict.message,
            "step": verdict.step,
            "tensors": list(verdict.tensors),
            "addresses": list(verdict.addresses),
        }
        for verdict in report.verdicts
    ]
    if format == "json":
        typer.echo(json.dumps({"accepted": report.accepted, "verdicts": verdicts}, indent=2))
    elif report.accepted:
        totals = checked_plan.totals
        typer.echo(
            f"accepted: {len(checked_plan.steps)} steps, {len(checked_plan.buffers)} buffers in an "
            f"arena of {format_bytes(totals.arena_bytes)} ({totals.arena_bytes:,} B); budget "
            f"{checked_plan.request.budget_bytes:,} B"
        )
    else:
        count = len(report.verdicts)
        typer.echo(f"rejected: {count} broken rule{'s' if count > 1 else ''}")
        for verdict in report.verdicts[:_SHOWN]:
            typer.echo(f"  {printable(str(verdict), 400)}")
        if count > _SHOWN:
            typer.echo(f"  and {count - _SHOWN} more; --format json lists all")
        if checked_plan.certificate.graph_hash != checked_graph.content_hash():
            typer.echo(
                "the plan was made for another graph: give the one that was written with it "
                "(--graph-out)"
            )
    return ExitCode.YES if report.accepted else ExitCode.NO


def _verify_frontier(graph: OpGraph, frontier: Frontier, format: str) -> ExitCode:
    from memplan.clients.report.wording import printable
    from memplan.ir.check.frontier import require_frontier
    from memplan.ir.errors import PlanRejectedError

    fault = None
    try:
        require_frontier(graph, frontier)
    except PlanRejectedError as failure:
        fault = str(failure)
    if format == "json":
        typer.echo(json.dumps({"accepted": fault is None, "fault": fault}, indent=2))
    elif fault is None:
        budgets, plans = len(frontier.points), len(frontier.plans)
        typer.echo(f"accepted: {budgets} budgets, {plans} with a plan; more bytes never cost more")
    else:
        typer.echo(f"rejected: {printable(fault, 400)}")
    return ExitCode.YES if fault is None else ExitCode.NO
