"""``plan trace MODEL -o graph.json``: the graph of a model, and its layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.options import (
    STEP,
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

__all__ = ["trace"]


def trace(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the graph (JSON).",
            rich_help_panel="Output",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            min=1,
            help="Samples to trace with; where sizes follow the batch, any other can be planned.",
            rich_help_panel=STEP,
        ),
    ] = None,
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
    weights_out: WeightsOutOption = None,
    format: FormatOption = "text",
) -> int:
    """Write the graph of a model: one step as data, without weights and without code.

    Planning a graph file needs no torch, so a graph can be planned elsewhere, or sent to
    plan serve.  The table lists the layers as --update FILE names them.
    """
    from memplan.clients import pipeline
    from memplan.clients.cli.files import must_be_writable, write_text
    from memplan.clients.cli.progress import Reporter
    from memplan.clients.cli.source import open_source

    must_be_writable(output, "-o")
    must_be_writable(weights_out, "--weights-out")
    options = pipeline.GraphOptions(
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
            model,
            options,
            inputs or [],
            data,
            trust,
            reporter,
            batch=batch,
            needs_weights=weights_out is not None,
        )
        if output is not None:
            write_text(output, source.graph.to_json())
        if weights_out is not None:
            reporter.stage("weights")
            source.write_weights(weights_out)
    if format == "json":
        typer.echo(json.dumps(_summary(source.graph), indent=2, ensure_ascii=False))
    else:
        from memplan.clients.report.graph_table import graph_report

        Console(highlight=False).print(graph_report(source.graph))
    return ExitCode.YES


def _summary(graph: Any) -> dict[str, Any]:
    return {
        "model": graph.name,
        "mode": graph.mode,
        "loss": None if graph.loss is None else graph.loss.model_dump(mode="json"),
        "optimizer": None if graph.optimizer is None else graph.optimizer.model_dump(mode="json"),
        "batch_norm": graph.batch_norm,
        "quantization": None
        if graph.quantization is None
        else graph.quantization.model_dump(mode="json"),
        "traced_batch": graph.traced_batch,
        "batch_symbolic": graph.batch_symbolic,
        "batch_coupled_by": graph.batch_coupled_by,
        "importance_samples": graph.importance_samples,
        "operations": len(graph.operations),
        "tensors": len(graph.tensors),
        "graph_hash": graph.content_hash(),
        "layers": [
            {
                "layer": layer.id,
                "kind": layer.kind,
                "weight": layer.weight,
                "bias": layer.bias,
                "parameter_count": layer.parameter_count,
                "forward_macs_per_sample": layer.forward_macs.at(1),
                "axes": {axis.name: axis.channels for axis in layer.axes},
                "fisher": layer.fisher,
            }
            for layer in graph.layers
        ],
    }
