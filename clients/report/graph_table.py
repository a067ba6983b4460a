"""What ``plan trace`` prints."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from memplan.clients.report.wording import printable
from memplan.ir.graph import OpGraph

__all__ = ["graph_report"]

_LAYER_ROWS = 200


def graph_report(graph: OpGraph) -> RenderableType:
    """Return what a graph is, and a table of its layers."""
    about = [
        f"batch {graph.traced_batch}" + (", any other too" if graph.batch_symbolic else " only")
    ]
    if graph.optimizer is not None and graph.loss is not None:
        about += [
            graph.optimizer.kind,
            graph.loss.kind.replace("_", " "),
            f"batch norm {graph.batch_norm}",
        ]
    if graph.quantization is not None:
        seen = graph.quantization.calibration_samples
        about.append(f"int8, ranges from {seen} samples" if seen else "int8, ranges are a guess")
    headline = Text.assemble(
        (printable(graph.name, 40), "bold"),
        f" · {graph.mode} · {', '.join(about)}\n",
        f"{len(graph.operations)} operations, {len(graph.tensors)} tensors, ",
        f"{len(graph.layers)} layers",
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("in/out", justify="right", no_wrap=True)
    table.add_column("Fisher", justify="right", no_wrap=True)
    for layer in graph.layers[:_LAYER_ROWS]:
        axes = {axis.name: str(axis.channels) for axis in layer.axes}
        table.add_row(
            Text(printable(layer.id)),
            Text(layer.kind),
            Text(f"{layer.parameter_count:,}"),
            Text(f"{layer.forward_macs.at(1):,}"),
            Text("/".join((axes.get("input", "-"), axes.get("output", "-")))),
            Text("-" if layer.fisher is None else f"{layer.fisher:.3e}"),
        )
    hidden = len(graph.layers) - _LAYER_ROWS
    more = [Text(f"and {hidden} more layers", style="dim")] if hidden > 0 else []
    key = Text("MACs of one sample; in/out: channels that can be updated in part", style="dim")
    return Group(headline, Text(""), table, *more, Text(""), key)
