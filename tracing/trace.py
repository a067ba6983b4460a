"""From a loaded model to an OpGraph: forward passes, capture, lowering, passes, costs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils import _pytree as pytree

from memplan.ir.errors import ModelError
from memplan.ir.graph import OpGraph, Quantization
from memplan.ir.row_strips import INPUT_ROWS, ROW_STRIPS
from memplan.tracing.calibration import calibrate
from memplan.tracing.capture import LossInputs, capture, choose_outputs
from memplan.tracing.capture_forward import Forward, copy_forward, run_forward
from memplan.tracing.coupling import samples_coupled_by
from memplan.tracing.draft import Draft, NotAffineError
from memplan.tracing.layers import assign_layers
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.lower import lower
from memplan.tracing.lower_to_graph import to_graph
from memplan.tracing.optimizer import add_optimizer
from memplan.tracing.passes import PASSES_AFTER_LAYERS, PASSES_AFTER_OPTIMIZER, PASSES_BEFORE_LAYERS
from memplan.tracing.passes.forward import FORWARD_PASSES
from memplan.tracing.passes.forward.int8 import mark_int8
from memplan.tracing.passes.int8_forward import to_int8
from memplan.tracing.samples import Samples
from memplan.tracing.settings import TraceSettings

__all__ = ["trace"]

#: Batches that sizes are read off at; the last one checks the line through the others.
SAMPLES = (2, 3, 5)

Progress = Callable[[str], None]


def trace(
    model: LoadedModel,
    settings: TraceSettings | None = None,
    progress: Progress | None = None,
    samples: Samples | None = None,
) -> OpGraph:
    """Return one training step, or one inference, of ``model`` as a graph.

    Args:
        progress: called with the name of each stage as it begins.
        samples: inputs that int8 ranges are taken from; without them ranges are a guess.

    Raises:
        ModelError: the model cannot be traced; the message says where.
        DataError: samples or weights do not fit the model.
    """
    settings = settings or TraceSettings()
    report = progress or (lambda stage: None)
    report("forward graph")
    forward, loss, outputs = prepare(model, settings)
    quantization = None
    if settings.quantize == "int8":
        report("ranges of activations")
        ranges = calibrate(forward, samples)
        mark_int8(forward, ranges)
        quantization = Quantization(
            calibration_samples=ranges.samples,
            quantization_aware_scaling=settings.quantization_aware_scaling,
        )

    def at(batches: tuple[int, ...]) -> OpGraph:
        captures = []
        for batch in batches:
            report(f"capture at batch {batch}")
            captures.append(capture(forward, settings, loss, outputs, batch))
        draft = lower(forward, captures)
        draft.quantization = quantization
        draft.stream_input_rows = settings.input_streamed
        if draft.symbolic:
            report("independence of samples")
            compared = outputs if loss is None else [loss.output]
            draft.coupled_by = samples_coupled_by(forward, compared)
        report("passes")
        return _finish(draft, settings, model.batch, report)

    if model.batch_free:
        try:
            return at(SAMPLES)
        except NotAffineError:
            pass  # the graph holds at one batch only
        except ModelError:
            if model.batch in SAMPLES:
                raise
    if settings.batch not in (None, model.batch):
        raise ModelError(
            f"{model.name}: this model can be traced at its own batch of {model.batch} only, not "
            f"at {settings.batch}; export it again at batch {settings.batch}, or with a dynamic "
            "batch"
        )
    return at((model.batch,))


def _finish(draft: Draft, settings: TraceSettings, traced_batch: int, report: Progress) -> OpGraph:
    """Run the passes and put optimizer and costs in."""
    for rewrite in PASSES_BEFORE_LAYERS:
        rewrite(draft)
    assign_layers(draft)
    if draft.quantization is not None:
        to_int8(draft)
    for rewrite in PASSES_AFTER_LAYERS:
        rewrite(draft)
    add_optimizer(draft, settings)
    for rewrite in PASSES_AFTER_OPTIMIZER:
        rewrite(draft)
    report("graph")
    if settings.input_streamed and not _takes_rows(draft):
        raise ModelError(
            f"{draft.name}: no chain of operations takes the input row by row (convolutions, pools "
            "and element-wise operations on images do); leave --input-streamed out"
        )
    batch = settings.batch or traced_batch
    return to_graph(draft, settings, batch if draft.symbolic else draft.samples[0])


def _takes_rows(draft: Draft) -> bool:
    return any(
        entry[0] == INPUT_ROWS
        for operation in draft.operations
        for way in operation.alternatives
        if way.target == ROW_STRIPS
        for entry in way.arguments
    )


def prepare(
    model: LoadedModel, settings: TraceSettings
) -> tuple[Forward, LossInputs | None, list[int]]:
    """Return the rewritten forward graph, what the loss reads, and which outputs count."""
    forward = copy_forward(model)
    result = run_forward(forward)
    outputs = choose_outputs(forward, result)
    loss = _loss_inputs(forward, settings, result, outputs[0]) if settings.trains else None
    for rewrite in FORWARD_PASSES:
        rewrite(forward, settings)
    forward.drop_unread_attributes()
    if settings.trains and not forward.trainable:
        raise ModelError(
            f"{model.name}: there is nothing to train, no parameter requires a gradient; "
            "use --mode infer"
        )
    return forward, loss, outputs


def _loss_inputs(
    forward: Forward, settings: TraceSettings, result: object, position: int
) -> LossInputs:
    name = forward.model.name
    output = pytree.tree_leaves(result)[position]
    batch = forward.model.batch
    shape = tuple(output.shape)
    if not shape or shape[0] != batch:
        raise ModelError(
            f"{name}: the output of shape {shape} does not begin with the batch {batch}; a model "
            "returns its predictions for each sample, and --loss says what is done with them"
        )
    if settings.loss == "mse":
        wanted, dtype = shape, output.dtype
    else:
        if len(shape) not in (2, 3, 4):
            raise ModelError(
                f"{name}: cross entropy needs an output (N, C), (N, T, C) or (N, C, H, W); "
                f"this one is {shape}; use --loss mse"
            )
        wanted = shape[:-1] if len(shape) < 4 else (shape[0], *shape[2:])
        dtype = torch.int64
    if settings.target == "labels":
        return LossInputs(position, (wanted[1:], dtype))
    for index, spec in enumerate(forward.model.inputs):
        if spec.dtype == dtype and _numel(spec.shape) == _numel(wanted):
            return LossInputs(position, None, index)
    raise ModelError(
        f"{name}: no input has the {_numel(wanted)} elements of type {dtype} that the loss "
        f"compares the output {shape} with; use --target labels"
    )


def _numel(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
