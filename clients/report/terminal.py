"""The report that a person reads in ten seconds, in a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from memplan.clients.report.summary import extra_macs_ratio, importance_ratio
from memplan.clients.report.timeline_text import timeline_text
from memplan.clients.report.wording import (
    format_count,
    format_seconds,
    gap_text,
    printable,
    share_text,
)
from memplan.ir.answer import Answer
from memplan.ir.graph import Layer, OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import format_bytes

__all__ = ["plan_report", "printable"]

_PEAK_TENSORS = 5


def plan_report(
    graph: OpGraph,
    request: PlanRequest,
    answer: Answer,
    console: Console,
) -> RenderableType:
    """Return the report of an answer, drawn for ``console``'s width and encoding."""
    parts: list[RenderableType] = [_headline(graph, request, answer), Text("")]
    parts += [_table(_rows(graph, request, answer))]
    if answer.plan is not None and graph.mode == "train":
        parts += [_mask_strip(graph, answer.plan, console)]
    parts += [Text("")]
    if answer.plan is not None:
        parts += [timeline_text(graph, answer.plan, console), Text("")]
        parts += [_peak(answer.plan), Text("")]
        notes = list(_notes(graph, answer.plan))
        parts += [Text(f"note: {note}", style="dim") for note in notes]
        parts += [Text("")] if notes else []
    else:
        parts += list(_explanation(answer))
    return Group(*parts)


def _headline(graph: OpGraph, request: PlanRequest, answer: Answer) -> Text:
    what = "training step" if graph.mode == "train" else "inference"
    about = [f"{what} of a batch of {request.batch}"]
    if graph.optimizer is not None and graph.loss is not None:
        about += [graph.optimizer.kind, graph.loss.kind.replace("_", " ")]
    verdict, style = {
        "optimal": (f"fits in {format_bytes(request.budget_bytes)}: optimal", "bold green"),
        "feasible": (f"fits in {format_bytes(request.budget_bytes)}", "bold green"),
        "infeasible": (f"does not fit in {format_bytes(request.budget_bytes)}: proved", "bold red"),
        "undecided": (
            f"undecided at {format_bytes(request.budget_bytes)}: no plan found, none ruled out",
            "bold yellow",
        ),
    }[answer.status]
    return Text.assemble(
        (printable(graph.name, 40), "bold"), " · ", ", ".join(about), "\n", (verdict, style)
    )


Row = tuple[str, str, str, str]


def _bytes_row(name: str, size_bytes: int, remark: str = "") -> Row:
    return (name, format_bytes(size_bytes), f"{size_bytes:,} B", remark)


def _rows(graph: OpGraph, request: PlanRequest, answer: Answer) -> Iterator[Row]:
    plan = answer.plan
    yield _bytes_row("budget", request.budget_bytes)
    if plan is not None:
        arena = plan.totals.arena_bytes
        free = request.budget_bytes - arena
        share = f"{100 * arena / request.budget_bytes:.1f} % of the budget"
        yield _bytes_row("arena", arena, f"{share}, {format_bytes(free)} free")
    elif answer.smallest_found_bytes is not None:
        yield _bytes_row("smallest plan", answer.smallest_found_bytes, "the best that was found")
    yield _bytes_row("lower bound", answer.lower_bound_bytes, "proven: no allowed plan is smaller")
    yield _bytes_row("plain step", answer.baseline_bytes, _plain_remark(graph, answer))
    if plan is None:
        return
    totals = plan.totals
    if graph.mode == "train":
        yield _bytes_row("persistent", totals.persistent_bytes, "updated weights, optimizer state")
    where = "read-only, in RAM" if _weights_in_ram(request) else "read-only, outside the budget"
    yield _bytes_row("frozen", totals.frozen_bytes, where)
    yield ("", "", "", "")
    trips = (
        "the whole batch at once" if plan.trips == 1 else f"{plan.trips} trips, gradients add up"
    )
    yield ("micro-batch", f"{plan.micro_batch} of {plan.batch}", "", trips)
    extra = 100 * extra_macs_ratio(plan)
    recomputed = totals.recomputed_operations
    yield ("recomputed", f"{recomputed} ops", f"{extra:+.1f} % MACs" if recomputed else "", "")
    if graph.mode == "train":
        yield _update_row(graph, plan)
    yield (
        "time",
        format_seconds(totals.time_ns),
        f"{format_count(totals.macs)} MACs",
        "per batch, estimated",
    )
    yield ("solved in", f"{answer.solve_seconds:.1f} s", "", _gaps(plan))


def _plain_remark(graph: OpGraph, answer: Answer) -> str:
    what = "full update, unplanned" if graph.mode == "train" else "unplanned"
    plan = answer.plan
    if plan is None or plan.totals.arena_bytes == 0:
        return what
    return f"{what}: {answer.baseline_bytes / plan.totals.arena_bytes:.2f}x the arena"


def _weights_in_ram(request: PlanRequest) -> bool:
    return request.device is not None and request.device.weights == "ram"


def _update_row(graph: OpGraph, plan: Plan) -> Row:
    sliced = sum(bool(update.channels) for update in plan.mask)
    bias_only = sum(update.weight == "none" for update in plan.mask)
    whole = len(plan.mask) - sliced - bias_only
    kinds = [
        f"{count} {kind}"
        for count, kind in ((whole, "whole"), (sliced, "in part"), (bias_only, "bias only"))
        if count
    ]
    ratio = importance_ratio(plan)
    importance = "" if ratio is None else f"{share_text(ratio)} of importance"
    detail = ", ".join(kinds)
    return (
        "updated",
        f"{len(plan.mask)} of {len(graph.layers)}",
        "layers",
        f"{detail}; {importance}".strip("; "),
    )


def _mask_strip(graph: OpGraph, plan: Plan, console: Console) -> RenderableType:
    """Draw one cell per layer, first to last: how much of it is updated."""
    unicode = console.encoding.lower().startswith("utf")
    cells = "".join(
        _mask_cell(layer, plan.update_of.get(layer.id), unicode) for layer in graph.layers
    )
    part = "▁ to ▇ part, █ whole" if unicode else "1 to 7 eighths, # whole"
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=len("micro-batch"), style="bold")
    table.add_column(overflow="fold")
    table.add_row(Text("by layer"), Text(cells, style="green"))
    table.add_row(Text(""), Text(f"first to last: · frozen, b bias only, {part}", style="dim"))
    return table


def _mask_cell(layer: Layer, update: LayerUpdate | None, unicode: bool) -> str:
    if update is None:
        return "·" if unicode else "."
    if update.weight == "none":
        return "b"
    if update.weight == "whole":
        return "█" if unicode else "#"
    channels = next(axis.channels for axis in layer.axes if axis.name == update.weight)
    eighths = min(7, max(1, round(8 * len(update.channels) / channels)))
    return "▁▂▃▄▅▆▇"[eighths - 1] if unicode else str(eighths)


def _gaps(plan: Plan) -> str:
    gaps = [
        f"{level.name.removesuffix('_ns').removesuffix('_bytes')} "
        + ("?" if level.gap is None else gap_text(level.gap))
        for level in plan.certificate.levels
    ]
    return f"gap: {', '.join(gaps)}" if gaps else ""


def _table(rows: Iterator[Row]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, justify="right", style="dim")
    table.add_column(overflow="fold")
    for name, value, exact, remark in rows:
        table.add_row(Text(name), Text(value), Text(exact), Text(remark))
    return table


def _peak(plan: Plan) -> Text:
    peak = plan.peak
    text = Text.assemble(
        ("peak", "bold"),
        f"  {format_bytes(plan.totals.peak_live_bytes)} at step {peak.step}, ",
        (printable(peak.operation), "bold"),
        ", where these are live:",
    )
    for tensor in peak.tensors[:_PEAK_TENSORS]:
        text.append(f"\n  {format_bytes(tensor.size_bytes):>10}  {printable(tensor.tensor)}")
    rest = peak.tensors[_PEAK_TENSORS:]
    if rest:
        size_bytes = sum(tensor.size_bytes for tensor in rest)
        text.append(f"\n  {format_bytes(size_bytes):>10}  in {len(rest)} more", style="dim")
    return text


def _notes(graph: OpGraph, plan: Plan) -> Iterator[str]:
    certificate = plan.certificate
    if certificate.restrictions:
        what = "optimal" if certificate.status == "optimal" else "gaps hold"
        yield f"{what} under: {'; '.join(certificate.restrictions)}"
        least, time_ns = certificate.lower_bound_time_ns, plan.totals.time_ns
        if least is not None:
            yield f"in any order no plan is faster by more than {gap_text(1 - least / time_ns)}"
    if graph.mode == "train" and graph.importance_samples == 0 and plan.request.update == "auto":
        yield "importance is a proxy without samples; --data samples.npz measures it"
    if graph.batch_coupled_by:
        yield f"micro-batch = batch: {printable(graph.batch_coupled_by, 200)}"
    elif not graph.batch_symbolic:
        yield f"the graph holds for a batch of {graph.traced_batch} only"


def _explanation(answer: Answer) -> Iterator[RenderableType]:
    explanation = answer.explanation
    if explanation is None:
        return
    yield Text.assemble(("why", "bold"), f"  {printable(explanation.reason, 300)}")
    if explanation.operation or explanation.tensors:
        at = f" at {printable(explanation.operation)}" if explanation.operation else ""
        text = Text(f"these must be live together{at}:")
        for name, size_bytes in explanation.tensors[:_PEAK_TENSORS]:
            text.append(f"\n  {format_bytes(size_bytes):>10}  {printable(name)}")
        yield text
    yield Text("")
    if explanation.remedies:
        yield Text("what would help", style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True, justify="right")
        table.add_column()
        for remedy in explanation.remedies:
            # A bound says that less is impossible, not that so much is enough.
            table.add_row(
                Text("  a plan was found" if remedy.proven else "  at least", style="dim"),
                Text(format_bytes(remedy.bytes_after)),
                Text(f"{remedy.bytes_after:,} B", style="dim"),
                Text(printable(remedy.action, 100)),
            )
        yield table
        yield Text("")
