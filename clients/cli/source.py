"""Where a graph comes from: a graph file, or a model that is loaded and traced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memplan.clients import pipeline
from memplan.clients.cli.progress import Reporter
from memplan.clients.report.terminal import printable
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph

if TYPE_CHECKING:
    from memplan.tracing.loaded import LoadedModel

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A graph, and the model that it was traced from if it was traced now."""

    graph: OpGraph
    model: LoadedModel | None

    @property
    def is_graph_file(self) -> bool:
        return self.model is None

    def write_weights(self, path: Path) -> None:
        """Write the weights that an executor of this graph needs."""
        assert self.model is not None, "open_source refuses this"
        pipeline.write_weights(self.graph, self.model, path)


def open_source(
    argument: str,
    options: pipeline.GraphOptions,
    inputs: Sequence[str],
    samples: Path | None,
    trust: bool,
    reporter: Reporter,
    *,
    batch: int | None,
    needs_weights: bool,
) -> Source:
    """Read a graph file, or load and trace a model.

    Raises:
        RequestError: a flag contradicts a graph file, or asks of it what only a model has.
        GraphError, ModelError, DataError: the file is bad.
    """
    if pipeline.is_graph_file(argument):
        for given, flag in (
            (bool(inputs), "--input"),
            (samples is not None, "--data"),
            (needs_weights, "--weights-out"),
        ):
            if given:
                raise RequestError(
                    f"{flag} needs the model, and {argument} is a graph; name the model instead"
                )
        reporter.stage("reading the graph")
        graph = pipeline.read_graph(argument)
        pipeline.refuse_contradictions(graph, options)
        return Source(graph, None)
    reporter.stage("loading the model")
    model = pipeline.load_model(argument, inputs, trust)
    for note in model.notes:
        reporter.note(f"note: {printable(note, 400)}")
    reporter.stage("tracing")
    graph = pipeline.trace_model(model, options, batch, samples)
    if graph.quantization is not None and not graph.quantization.calibration_samples:
        reporter.note(
            "note: ranges of int8 activations come from random numbers, so they are a guess; "
            "give samples with --data"
        )
    if samples is not None and (graph.mode == "train" or graph.quantization is None):
        reporter.stage("measuring importance")
        graph = pipeline.measure_importance(graph, model, samples)
    elif graph.mode == "train":
        graph = pipeline.rank_channels(graph, model)
    return Source(graph, model)
