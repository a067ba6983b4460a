"""memplan: how can this model train, or run, in this many bytes?

    >>> import memplan
    >>> answer = memplan.plan(model, example_inputs, budget="256KB")
    >>> answer.status, answer.plan.totals.arena_bytes

Importing this module imports neither torch nor ortools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from memplan.clients import pipeline
from memplan.ir.errors import ModelError, RequestError
from memplan.ir.graph import (
    BatchNorm,
    LossKind,
    LossTarget,
    Mode,
    OpGraph,
    OptimizerKind,
    QuantizationScheme,
)
from memplan.ir.plan import Plan
from memplan.ir.request import Criterion
from memplan.ir.units import parse_bytes

if TYPE_CHECKING:
    import torch

    from memplan.ir.answer import Answer
    from memplan.ir.check import Report
    from memplan.ir.frontier import Frontier
    from memplan.ir.packing import PackingAnswer, PackingBuffer
    from memplan.solver import FrontierProgress, Progress
    from memplan.tracing.loaded import LoadedModel

__all__ = ["StepOptions", "frontier", "pack", "plan", "trace", "verify"]

_MAX_SECONDS = 86_400


def plan(
    model: torch.nn.Module | LoadedModel | OpGraph | str | Path,
    example_inputs: Any = None,
    budget: str | int | None = None,
    *,
    batch: int | None = None,
    micro_batch: Literal["auto"] | int = "auto",
    update: pipeline.Update = "auto",
    criterion: Criterion = "tinytrain",
    contributions: Mapping[str, float] | None = None,
    compute_limit: float | None = 1.0,
    computations: int | None = None,
    stream_inputs: bool = False,
    time_limit: float = 30.0,
    deterministic: bool = False,
    seed: int = 0,
    workers: int = 2,
    mode: Mode | None = None,
    loss: LossKind | None = None,
    target: LossTarget | None = None,
    optimizer: OptimizerKind | None = None,
    learning_rate: float | None = None,
    batch_norm: BatchNorm | None = None,
    quantize: QuantizationScheme | None = None,
    quantization_aware_scaling: bool | None = None,
    input_streamed: bool | None = None,
    data: str | Path | None = None,
    trust: bool = False,
    start: Plan | str | Path | None = None,
    believe_start: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Answer:
    """Find how a model trains, or runs, within ``budget`` bytes.

    Args:
        model: a module, a loaded model, a graph, or a path as the command line takes it
            (``.pt2``, ``.pt``, ``graph.json``, ``package.module:factory``).
        example_inputs: of a module: a tensor, a tuple or a dict of keyword arguments, batch
            included.
        budget: bytes that may be written at run time, ``"256KB"`` or a number.
        batch: samples per step; by default that of the example inputs.
        micro_batch: samples at a time, a divisor of ``batch``.
        update: what is trained; ``"auto"`` chooses by ``criterion``, a tuple is a mask.
        contributions: gain per layer, for the criterion ``contribution``.
        compute_limit: extra MACs relative to one forward pass; None for no limit.
        computations: most computations of one operation; None for no limit.
        stream_inputs: samples are loaded per micro-batch.
        time_limit: of the search, in seconds.
        deterministic: the limit counts seconds of work and not of the clock: the same plan every
            time, on any machine.
        mode, loss, target, optimizer, learning_rate, batch_norm: the step.  By default a
            training step with cross entropy on labels, SGD at 0.01 and frozen batch norm.
        quantize: ``"int8"``: convolutions, sums and pools in integers.
        quantization_aware_scaling: scale updates of integers as those of real weights (default).
        input_streamed: the input image comes row by row from the program, and takes no memory.
        data: npz file with arrays x and y, from which importance is measured, and the ranges of
            int8 activations.
        trust: let a model file run code of its own.
        start: a plan of the same graph, or its file, made for another budget say.  The search goes
            on from it, and takes about an eighth of the time limit.
        believe_start: the bounds in its certificate count where they hold for this request: if the
            budget is not larger.  Only for plans that you made.
        progress: called as the search goes on, at most five times a second: incumbent, bound, gap
            and stage.
        stop: polled; once it returns true the best plan so far is the answer.

    Returns:
        The answer; ``answer.plan`` is None where nothing fits or the time ran out.

    Raises:
        RequestError: an option is wrong, or contradicts the graph.
        ModelError, GraphError, DataError: the model, graph or data is bad.
        PlanRejectedError: ``start`` is no right plan of this graph.
        MissingExtraError: torch or the solver is not installed.
    """
    if budget is None:
        raise RequestError('budget is missing; say how many bytes, for example budget="256KB"')
    graph = trace(
        model,
        example_inputs,
        batch=batch,
        mode=mode,
        loss=loss,
        target=target,
        optimizer=optimizer,
        learning_rate=learning_rate,
        batch_norm=batch_norm,
        quantize=quantize,
        quantization_aware_scaling=quantization_aware_scaling,
        input_streamed=input_streamed,
        data=data,
        trust=trust,
    )
    request = pipeline.build_request(
        graph,
        pipeline.RequestOptions(
            budget=budget,
            batch=batch,
            micro_batch=micro_batch,
            update=update,
            criterion=criterion,
            contributions=contributions,
            compute_limit=compute_limit,
            computations=computations,
            stream_inputs=stream_inputs,
            time_limit_seconds=time_limit,
            deterministic=deterministic,
            seed=seed,
            workers=workers,
        ),
    )
    stored = pipeline.read_plan(start) if isinstance(start, str | Path) else start
    return pipeline.solve(graph, request, progress, stop, stored, believe_start)


class StepOptions(TypedDict, total=False):
    """What ``trace`` takes beside model, inputs and batch."""

    mode: Mode | None
    loss: LossKind | None
    target: LossTarget | None
    optimizer: OptimizerKind | None
    learning_rate: float | None
    batch_norm: BatchNorm | None
    quantize: QuantizationScheme | None
    quantization_aware_scaling: bool | None
    input_streamed: bool | None
    data: str | Path | None
    trust: bool


def frontier(
    model: torch.nn.Module | LoadedModel | OpGraph | str | Path,
    example_inputs: Any = None,
    budgets: int | Sequence[str | int] = 20,
    *,
    batch: int | None = None,
    micro_batch: Literal["auto"] | int = "auto",
    update: pipeline.Update = "auto",
    criterion: Criterion = "tinytrain",
    contributions: Mapping[str, float] | None = None,
    compute_limit: float | None = 1.0,
    computations: int | None = None,
    stream_inputs: bool = False,
    time_limit: float = 120.0,
    deterministic: bool = False,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[FrontierProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    **step: Unpack[StepOptions],
) -> Frontier:
    """Plan a model within a range of budgets, such that more bytes never cost more.

    Args:
        budgets: bytes each, ``"256KB"`` or a number; or how many, spaced evenly from the smallest
            plan that is found to the one from which more bytes buy nothing.
        time_limit: of all searches together, in seconds.
        step: what is traced, as for ``plan``; so are all other arguments.

    Returns:
        The frontier: ``points``, the smallest budget first, each with its ``answer``.

    Raises:
        as ``plan`` does.
    """
    wanted = budgets if isinstance(budgets, int) else [parse_bytes(each) for each in budgets]
    graph = trace(model, example_inputs, batch=batch, **step)
    request = pipeline.build_request(
        graph,
        pipeline.RequestOptions(
            budget=1,  # each point has its own
            batch=batch,
            micro_batch=micro_batch,
            update=update,
            criterion=criterion,
            contributions=contributions,
            compute_limit=compute_limit,
            computations=computations,
            stream_inputs=stream_inputs,
            time_limit_seconds=time_limit,
            deterministic=deterministic,
            seed=seed,
            workers=workers,
        ),
    )
    return pipeline.frontier(graph, request, wanted, progress, stop)


def trace(
    model: torch.nn.Module | LoadedModel | OpGraph | str | Path,
    example_inputs: Any = None,
    *,
    batch: int | None = None,
    mode: Mode | None = None,
    loss: LossKind | None = None,
    target: LossTarget | None = None,
    optimizer: OptimizerKind | None = None,
    learning_rate: float | None = None,
    batch_norm: BatchNorm | None = None,
    quantize: QuantizationScheme | None = None,
    quantization_aware_scaling: bool | None = None,
    input_streamed: bool | None = None,
    data: str | Path | None = None,
    trust: bool = False,
) -> OpGraph:
    """Return the graph of one step of a model; arguments as for ``plan``."""
    options = pipeline.GraphOptions(
        mode=mode,
        loss=loss,
        target=target,
        optimizer=optimizer,
        learning_rate=learning_rate,
        batch_norm=batch_norm,
        quantize=quantize,
        quantization_aware_scaling=quantization_aware_scaling,
        input_streamed=input_streamed,
    )
    if isinstance(model, str | Path) and pipeline.is_graph_file(model):
        model = pipeline.read_graph(model)
    if isinstance(model, OpGraph):
        if data is not None:
            raise RequestError("data needs the model, and this is a graph; give the model instead")
        pipeline.refuse_contradictions(model, options)
        return model
    loaded = _loaded(model, example_inputs, trust)
    graph = pipeline.trace_model(loaded, options, batch, data)
    if data is not None and (graph.mode == "train" or graph.quantization is None):
        return pipeline.measure_importance(graph, loaded, data)
    return pipeline.rank_channels(graph, loaded) if graph.mode == "train" else graph


def verify(graph: OpGraph | str | Path, plan: Plan | str | Path) -> Report:
    """Check a plan against its graph, byte by byte, with code that the solver does not share.

    Returns:
        A report: ``accepted``, and the ``verdicts`` if it is not.

    Raises:
        GraphError, PlanRejectedError: a file is no graph, or no plan.
    """
    from memplan.ir.check import check

    return check(
        graph if isinstance(graph, OpGraph) else pipeline.read_graph(graph),
        plan if isinstance(plan, Plan) else pipeline.read_plan(plan),
    )


def pack(
    buffers: Sequence[PackingBuffer] | str | Path,
    capacity: str | int = "min",
    *,
    alignment: int = 1,
    time_limit: float = 30.0,
    seed: int = 0,
    workers: int = 2,
    stop: Callable[[], bool] = lambda: False,
) -> PackingAnswer:
    """Give buffers of given lifetimes their addresses.

    Args:
        buffers: ``memplan.ir.packing.PackingBuffer`` each, or a CSV file with the columns id,
            lower, upper, size and perhaps alignment.
        capacity: bytes, ``"256KB"`` or a number; ``"min"``: as few as possible.
        alignment: offsets are multiples of it, for buffers of a file without one of their own.
        time_limit: of the search, in seconds.
        stop: polled; once it returns true the best packing so far is the answer.

    Returns:
        The answer: ``status``, ``capacity``, the proven ``lower_bound``, and ``buffers`` with an
        ``offset`` each.  ``optimal`` is said of the least capacity only, where it is proved.

    Raises:
        RequestError: the capacity, alignment or time limit is wrong.
        DataError: the file, or a buffer, is wrong.
        MissingExtraError: the solver is not installed.
    """
    wanted = None if capacity == "min" else parse_bytes(capacity)
    if alignment < 1:
        raise RequestError(f"alignment is {alignment}; it must be at least 1")
    if not 0 < time_limit <= _MAX_SECONDS:
        raise RequestError(
            f"the time limit is {time_limit:g} seconds; it must be above 0, at most {_MAX_SECONDS}"
        )
    if seed < 0 or workers < 1:
        raise RequestError(f"seed is {seed}, workers is {workers}; use at least 0 and 1")
    pipeline.require_solver()
    from memplan.ir.packing import read_buffers
    from memplan.solver.packing import answer

    if isinstance(buffers, str | Path):
        buffers = read_buffers(Path(buffers), alignment)
    return answer(buffers, wanted, seconds=time_limit, seed=seed, workers=workers, stop=stop)


def _loaded(
    model: torch.nn.Module | LoadedModel | str | Path, example_inputs: Any, trust: bool
) -> LoadedModel:
    if isinstance(model, str | Path):
        return pipeline.load_model(str(model), trust=trust)
    pipeline.require_torch()
    from memplan.tracing.loaded import LoadedModel
    from memplan.tracing.loaders import load_module

    if isinstance(model, LoadedModel):
        return model
    if example_inputs is None:
        raise ModelError(
            f"{type(model).__name__}: example_inputs are missing; give a tensor or a tuple of "
            "tensors, batch included"
        )
    return load_module(model, example_inputs)
