"""The straight path that the facade and the command line share: model -> graph -> answer.

torch and ortools are imported where they are needed and nowhere else, so that help texts,
usage errors and graph-only installations never wait for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from memplan.ir.errors import (
    MemplanError,
    MissingExtraError,
    ModelError,
    RequestError,
)
from memplan.ir.frontier import Frontier
from memplan.ir.graph import (
    BatchNorm,
    LossKind,
    LossTarget,
    Mode,
    OpGraph,
    OptimizerKind,
    QuantizationScheme,
)
from memplan.ir.limits import MAX_JSON_BYTES
from memplan.ir.plan import Plan
from memplan.ir.request import Criterion, LayerUpdate, PlanRequest
from memplan.ir.row_strips import takes_rows
from memplan.ir.units import parse_bytes

if TYPE_CHECKING:
    import torch

    from memplan.ir.answer import Answer
    from memplan.solver import FrontierProgress, Progress
    from memplan.tracing.loaded import LoadedModel

__all__ = [
    "GraphOptions",
    "RequestOptions",
    "Update",
    "Word",
    "build_request",
    "check_options",
    "frontier",
    "is_graph_file",
    "load_model",
    "measure_importance",
    "must_be_model",
    "rank_channels",
    "read_graph",
    "read_plan",
    "read_plan_or_frontier",
    "read_weights",
    "refuse_contradictions",
    "require_solver",
    "require_torch",
    "solve",
    "trace_model",
    "write_weights",
]

#: Fields that the user knows under another name than their own.
_FLAGS = {"budget_bytes": "--budget", "time_limit_seconds": "--time-limit"}
_GRAPH_FLAGS = {"learning_rate": "--lr", "quantization_aware_scaling": "--qas"}
#: What an inference may be told, too.
_OF_INFERENCE = {"mode", "batch_norm", "quantize", "input_streamed"}

Word = Literal["auto", "full", "last-layer", "bias"]
Update = Word | tuple[LayerUpdate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """What becomes part of a graph.  None means: not said, take the default or the graph's own."""

    mode: Mode | None = None
    loss: LossKind | None = None
    target: LossTarget | None = None
    optimizer: OptimizerKind | None = None
    learning_rate: float | None = None
    batch_norm: BatchNorm | None = None
    quantize: QuantizationScheme | None = None
    quantization_aware_scaling: bool | None = None
    input_streamed: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """What becomes part of a request; see ``ir.request.PlanRequest``.

    ``batch`` None means the batch that the model was traced at.
    """

    budget: str | int
    batch: int | None = None
    micro_batch: Literal["auto"] | int = "auto"
    update: Update = "auto"
    criterion: Criterion = "tinytrain"
    contributions: Mapping[str, float] | None = None
    compute_limit: float | None = 1.0
    computations: int | None = None
    stream_inputs: bool = False
    time_limit_seconds: float = 30.0
    deterministic: bool = False
    seed: int = 0
    workers: int = 2


def is_graph_file(argument: str | Path) -> bool:
    """Tell whether a file is JSON, as graphs are, and not a model."""
    try:
        with Path(argument).open("rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except OSError:
        return False


def read_graph(path: str | Path) -> OpGraph:
    """Read a graph file.

    Raises:
        GraphError: the file cannot be read, or is no graph.
    """
    return _parse(OpGraph, path)


def read_plan(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        PlanRejectedError: the file cannot be read, or is no plan.
    """
    return _parse(Plan, path)


def read_plan_or_frontier(path: str | Path) -> Plan | Frontier:
    """Read a file that holds a plan, or the plans of a frontier.

    Raises:
        MemplanError: the file cannot be read, or is neither.
    """
    if _schema_of(_read(path, MemplanError)) == Frontier.model_fields["schema_"].default:
        return _parse(Frontier, path)
    return read_plan(path)


def refuse_contradictions(graph: OpGraph, options: GraphOptions) -> None:
    """Raise RequestError where an option says something else than the graph.

    A graph is one step of one mode, loss and optimizer; other ones need another trace.
    """
    loss, optimizer, quantization = graph.loss, graph.optimizer, graph.quantization
    own = {
        "mode": graph.mode,
        "loss": loss.kind if loss else None,
        "target": loss.target if loss else None,
        "optimizer": optimizer.kind if optimizer else None,
        "learning_rate": optimizer.learning_rate if optimizer else None,
        "batch_norm": graph.batch_norm,
        "quantize": quantization.scheme if quantization else "none",
        "quantization_aware_scaling": quantization.quantization_aware_scaling
        if quantization
        else None,
        "input_streamed": takes_rows(graph),
    }
    for name, value in own.items():
        asked = getattr(options, name)
        if asked is not None and asked != value:
            flag = _GRAPH_FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise RequestError(
                f"{flag} {asked} contradicts the graph {graph.name}, which was traced with "
                f"{'none' if value is None else value}; leave the flag out or trace the model again"
            )


def must_be_model(argument: str) -> None:
    """Raise ModelError where an argument can be no model: there is no such file."""
    if ":" in argument or Path(argument).is_file():
        return
    what = "this is a folder" if Path(argument).is_dir() else "there is no such file"
    raise ModelError(
        f"{argument}: {what}; MODEL is a .pt2, a .pt, a graph.json, or package.module:function"
    )


def load_model(argument: str, inputs: Sequence[str] = (), trust: bool = False) -> LoadedModel:
    """Load a ``.pt2``, a ``.pt`` or a ``package.module:function``.

    Raises:
        ModelError: it cannot be read, trusted or exported.
        MissingExtraError: torch is not installed.
    """
    must_be_model(argument)
    require_torch()
    from memplan.tracing.loaders import load

    return load(argument, inputs=inputs, trust=trust)


def trace_model(
    model: LoadedModel,
    options: GraphOptions,
    batch: int | None = None,
    samples: str | Path | None = None,
) -> OpGraph:
    """Trace one step of a loaded model; without ``batch``, at that of its example inputs.

    Args:
        samples: npz file, whose inputs int8 ranges are taken from.

    Raises:
        ModelError: the model cannot be traced.
        RequestError: options contradict each other.
        DataError: the samples are malformed, not finite, or do not fit the model.
    """
    require_torch()
    from memplan.tracing import TraceSettings, trace
    from memplan.tracing.samples import load_samples, model_inputs

    said = {name: value for name, value in asdict(options).items() if value is not None}
    if options.mode == "infer" and (extra := sorted(said.keys() - _OF_INFERENCE)):
        raise RequestError(f"{extra[0]} belongs to training; leave it out, or use mode train")
    if options.quantization_aware_scaling is not None and options.quantize != "int8":
        raise RequestError("--qas is about updates of integers; it goes with --quantize int8")
    settings = TraceSettings(batch=batch, **said)
    seen = None
    if samples is not None and settings.quantize == "int8":
        seen = load_samples(str(samples), lambda headers: model_inputs(headers, model))
    return trace(model, settings, samples=seen)


def measure_importance(graph: OpGraph, model: LoadedModel, samples: str | Path) -> OpGraph:
    """Return the graph with the importance of its layers and channels on a user's samples.

    Args:
        samples: npz file with arrays x and y.

    Raises:
        DataError: the samples are malformed, not finite, or do not fit the model.
    """
    require_torch()
    from memplan.tracing.importance import fisher
    from memplan.tracing.samples import load_samples, model_inputs

    checked = load_samples(str(samples), lambda headers: model_inputs(headers, model))
    return fisher(model, graph, checked)


def rank_channels(graph: OpGraph, model: LoadedModel) -> OpGraph:
    """Return the graph with the norms of its weights' channels, which rank them without samples.

    A layer whose weights are not there (a module on the meta device) or not finite is left as
    it is.

    Raises:
        DataError: model and graph do not belong together.
    """
    from memplan.tracing.importance import weight_norms
    from memplan.tracing.weights import real_parameters

    weights = real_parameters(graph, model.read_weights)
    return weight_norms(
        graph,
        {
            name: value
            for name, value in weights.items()
            if not value.is_meta and bool(value.isfinite().all())
        },
    )


def write_weights(graph: OpGraph, model: LoadedModel, path: str | Path) -> None:
    """Write the weights that an executor of ``graph`` needs (safetensors), whole or not at all.

    Raises:
        DataError: model and graph do not belong together, or the file cannot be written.
    """
    from memplan.tracing.weights import build_weights
    from memplan.tracing.weights import write_weights as write

    write(str(path), build_weights(graph, model.read_weights))


def read_weights(graph: OpGraph, path: str | Path) -> dict[str, torch.Tensor]:
    """Read weights for ``graph``: what ``write_weights`` wrote, or the model's ``.pt2``.

    Raises:
        DataError, ModelError: the file is damaged, or of another model.
    """
    require_torch()
    from memplan.tracing.weights import read_weights_file

    return read_weights_file(graph, str(path))


def build_request(graph: OpGraph, options: RequestOptions) -> PlanRequest:
    """Return the request that the options make of a graph.

    Raises:
        RequestError: an option is out of its range, or asks for a batch that the graph lacks.
    """
    if takes_rows(graph):  # else a batch of several trips would be resident beside its rows
        options = replace(options, stream_inputs=True)
    batch = graph.traced_batch if options.batch is None else options.batch
    if not graph.batch_symbolic and batch != graph.traced_batch:
        raise RequestError(
            f"batch {batch}: the graph {graph.name} holds for a batch of {graph.traced_batch} "
            "only; export the model with a dynamic batch, or leave --batch out"
        )
    return _request(options, batch)


def check_options(options: RequestOptions) -> None:
    """Raise RequestError where an option is wrong whatever the graph, before one is traced."""
    micro_batch = options.micro_batch
    _request(options, options.batch or (1 if micro_batch == "auto" else max(1, micro_batch)))


def _request(options: RequestOptions, batch: int) -> PlanRequest:
    if options.contributions and options.criterion != "contribution":
        raise RequestError(
            f"contributions are for criterion contribution, and not for {options.criterion}"
        )
    values: dict[str, Any] = {
        "budget_bytes": parse_bytes(options.budget),
        "batch": batch,
        "micro_batch": options.micro_batch,
        "update": options.update,
        "criterion": options.criterion,
        "contributions": dict(options.contributions or {}),
        "compute_limit": options.compute_limit,
        "computations": options.computations,
        "stream_inputs": options.stream_inputs,
        "time_limit_seconds": options.time_limit_seconds,
        "deterministic": options.deterministic,
        "seed": options.seed,
        "workers": options.workers,
    }
    from pydantic import ValidationError

    try:
        return PlanRequest(**values)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
        flag = _FLAGS.get(where, f"--{where.replace('_', '-')}")
        given = values.get(where)
        given = f" {given}" if isinstance(given, int | float | str) else ""
        raise RequestError(f"{flag}{given}: {message}" if where else message) from None


def solve(
    graph: OpGraph,
    request: PlanRequest,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    start: Plan | None = None,
    believe_start: bool = False,
) -> Answer:
    """Plan; ``memplan.solver.solve`` with a clear error where the solver is not installed.

    Args:
        progress: called as the search goes on.
        stop: polled; once it returns true the best plan so far is the answer.
        start: a plan of the same graph to go on from.
        believe_start: what it is proved to be counts where it holds.
    """
    require_solver()
    from memplan.solver import solve as solve_question

    return solve_question(
        graph, request, start=start, believe_start=believe_start, progress=progress, stop=stop
    )


def frontier(
    graph: OpGraph,
    request: PlanRequest,
    budgets: Sequence[int] | int,
    progress: Callable[[FrontierProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Frontier:
    """Plan within a range of budgets; ``memplan.solver.frontier``, with the same clear error."""
    require_solver()
    from memplan.solver import frontier as plan_frontier

    return plan_frontier(graph, request, budgets, progress=progress, stop=stop)


D = TypeVar("D", OpGraph, Plan, Frontier)


def _parse(document: type[D], path: str | Path) -> D:
    text = _read(path, document.error)
    try:
        return document.from_json(text, str(path))
    except MemplanError:
        # A graph where a plan is meant has dozens of faults, and one cause.
        expected, found = document.model_fields["schema_"].default, _schema_of(text)
        if isinstance(found, str) and found != expected:
            raise document.error(
                f"{path}: this is a {found[:40]!r}, expected is a {expected!r}; "
                "is it the right file?"
            ) from None
        raise


def _schema_of(text: bytes) -> object:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values.get("schema") if isinstance(values, dict) else None


def _read(path: str | Path, error: type[MemplanError]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_JSON_BYTES + 1)
    except OSError as failure:
        raise error(f"{path}: {failure.strerror or failure}; check the path") from None


def require_solver() -> None:
    """Raise MissingExtraError where the solver is not installed."""
    if find_spec("ortools") is None:
        raise MissingExtraError("the solver is not installed; pip install 'memplan[solver]'")


def require_torch() -> None:
    """Raise MissingExtraError where torch is not installed."""
    if find_spec("torch") is None:
        raise MissingExtraError("torch is not installed; pip install 'memplan[trace]'")
