"""``.pt2`` uploads: form fields like the command line's options, and what a file really is."""

from __future__ import annotations

import io
import json
import zipfile
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.ir.units import parse_bytes
from memplan.planner_service.problems import ProblemError, problem_of_validation

__all__ = ["UploadForm", "must_be_traceable", "request_of_form", "trace_settings"]


class UploadForm(BaseModel):
    """Form fields beside the file ``model``; each means what the command line's option means."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    budget: str = Field(description="Bytes, such as 256KB.")
    batch: int | None = Field(None, ge=1)
    micro_batch: str = Field("auto", description="auto, or a divisor of the batch.")
    update: str = Field(
        "auto", description="auto, full, last-layer, bias, or a JSON list of layer updates."
    )
    criterion: Literal["tinytrain", "fisher", "uniform"] = "tinytrain"
    compute_limit: float = Field(1.0, ge=0)
    time_limit: float = Field(30.0, gt=0, description="Seconds.")
    seed: int = Field(0, ge=0)
    mode: Literal["train", "infer"] = "train"
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    target: Literal["labels", "input"] = "labels"
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    lr: float = Field(0.01, gt=0)
    batch_norm: Literal["frozen", "train"] = "frozen"


def must_be_traceable(model: bytes) -> None:
    """Raise ProblemError unless a file is a ``.pt2`` and this server can trace it.

    The file's table of contents is read, and nothing else of it.
    """
    if not _is_exported_program(model):
        raise ProblemError(
            415,
            "unsupported-model",
            "only .pt2 files (torch.export.save) are accepted; a .pt pickle can run code, so "
            "convert it where it was made: plan trace MODEL.pt --input SHAPE:DTYPE -o graph.json, "
            "then POST the graph",
        )
    if find_spec("torch") is None:
        raise ProblemError(
            501,
            "torch-not-installed",
            "this server plans graphs and has no torch to trace models; run plan trace MODEL.pt2 "
            "-o graph.json and POST the graph, or install memplan[trace] on the server",
        )


def trace_settings(form: UploadForm) -> dict[str, Any]:
    """Return the fields of ``tracing.TraceSettings``."""
    return {
        "mode": form.mode,
        "batch": form.batch,
        "loss": form.loss,
        "target": form.target,
        "optimizer": form.optimizer,
        "learning_rate": form.lr,
        "batch_norm": form.batch_norm,
    }


def request_of_form(graph: OpGraph, form: UploadForm) -> PlanRequest:
    """Return the request that the form makes of the traced graph.

    Raises:
        ProblemError, RequestError: a field is out of its range.
    """
    body = {
        "budget_bytes": parse_bytes(form.budget),
        "batch": graph.traced_batch if form.batch is None else form.batch,
        "micro_batch": _json_or_word(form.micro_batch, "micro_batch"),
        "update": _json_or_word(form.update, "update"),
        "criterion": form.criterion,
        "compute_limit": form.compute_limit,
        "time_limit_seconds": form.time_limit,
        "seed": form.seed,
    }
    try:
        return PlanRequest.model_validate_json(json.dumps(body))
    except ValidationError as failure:
        raise problem_of_validation(failure) from None


def _json_or_word(text: str, name: str) -> Any:
    if text[:1] not in "[0123456789":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError(f"{name}: {text[:40]!r} is neither a word nor JSON") from None


def _is_exported_program(model: bytes) -> bool:
    try:
        names = zipfile.ZipFile(io.BytesIO(model)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    return any(name.endswith("models/model.json") for name in names)
