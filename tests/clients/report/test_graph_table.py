from __future__ import annotations

import io

from rich.console import Console

from memplan.clients.report.graph_table import graph_report
from tests.support.hand_graphs import two_layers


def test_graph_report_lists_layers() -> None:
    graph = two_layers()
    written = io.StringIO()
    Console(file=written, width=80).print(graph_report(graph))
    text = written.getvalue()
    for layer in graph.layers:
        assert layer.id in text
        assert f"{layer.parameter_count:,}" in text
