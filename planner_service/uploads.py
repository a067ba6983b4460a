"""``.pt2`` uploads: form fields like the command line's options, and what a file really is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memplan.ir.errors import RequestError
from memplan.ir.request import PlanRequest
from memplan.ir.units import parse_budgets, parse_bytes
from memplan.planner_service.problems import ProblemError, problem_of_validation

__all__ = [
    "FrontierForm",
    "ModelForm",
    "UploadForm",
    "file_name",
    "must_be_traceable",
    "request_of_form",
    "trace_settings",
]

_MOST_OF_A_NAME = 100
#: Fields of the request that a form calls otherwise.
_FIELD_OF = {"budget_bytes": "budget", "time_limit_seconds": "time_limit"}
_Value = TypeVar("_Value")
_TRAINING_FIELDS = ("loss", "target", "optimizer", "lr")


class ModelForm(BaseModel):
    """Form fields beside the file ``model``; each means what the command line's option means."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    batch: int | None = Field(
        None, ge=1, description="Samples per step; by default that of the model's example inputs."
    )
    micro_batch: str = Field("auto", description="auto, or a divisor of the batch.")
    update: str = Field(
        "auto", description="auto, full, last-layer, bias, or a JSON list of layer updates."
    )
    criterion: Literal["tinytrain", "fisher", "uniform"] = Field(
        "tinytrain", description="What layers and channels are worth to update auto."
    )
    compute_limit: float = Field(1.0, ge=0, description="Extra MACs relative to one forward pass.")
    time_limit: float = Field(30.0, gt=0, description="Seconds of search.")
    deterministic: bool = Field(
        False, description="The time limit counts work done: the same plan every time."
    )
    seed: int = Field(0, ge=0, description="Of the search.")
    mode: Literal["train", "infer"] = Field(
        "train", description="One training step, or one inference."
    )
    loss: Literal["cross_entropy", "mse"] = Field("cross_entropy", description="Training only.")
    target: Literal["labels", "input"] = Field(
        "labels", description="What the loss compares with: labels, or the model's own input."
    )
    optimizer: Literal["sgd", "momentum", "adam"] = Field(
        "sgd", description="Training only; its state is persistent memory."
    )
    lr: float = Field(0.01, gt=0, description="Learning rate.")
    batch_norm: Literal["frozen", "train"] = Field(
        "frozen", description="frozen: folded into the weights; train: batch statistics."
    )
    quantize: Literal["none", "int8"] = Field(
        "none",
        description="int8: convolutions, sums and pools in integers. Without samples the ranges "
        "of activations are a guess; trace with plan trace --data to have measured ones.",
    )
    quantization_aware_scaling: bool = Field(
        True, description="Scale updates of int8 weights as those of the real weights."
    )
    input_streamed: bool = Field(
        False, description="The input image comes row by row from the program on the device."
    )


class UploadForm(ModelForm):
    """Of ``POST /v1/plans``."""

    budget: str = Field(description="Bytes, such as 256KB.")
    start_id: str | None = Field(
        None,
        max_length=100,
        description="The id of an answered question about the same model: the search goes on from "
        "its plan.",
    )

    @property
    def budget_bytes(self) -> int:
        """Of the request."""
        return _read(parse_bytes, self.budget, "budget")


class FrontierForm(ModelForm):
    """Of ``POST /v1/frontiers``."""

    budgets: str = Field(
        "20",
        max_length=40_000,
        description="How many, from the smallest plan to the one from which more bytes buy "
        "nothing; or a list such as 128KB,256KB,1MB.",
    )
    time_limit: float = Field(120.0, gt=0, description="Seconds of search, of all budgets.")

    @property
    def budget_bytes(self) -> int:
        """Of the request, where it does not matter."""
        return 1

    @property
    def wanted(self) -> int | tuple[int, ...]:
        """How many budgets, or which."""
        budgets = _read(parse_budgets, self.budgets, "budgets")
        return budgets if isinstance(budgets, int) else tuple(budgets)


def file_name(claimed: str | None) -> str:
    """Return what messages and graphs call an uploaded file: a short printable base name."""
    base = (claimed or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(c for c in base if c.isprintable()).strip()
    return printable[:_MOST_OF_A_NAME] or "model.pt2"


def must_be_traceable(model: bytes) -> None:
    """Raise ProblemError unless a file is a ``.pt2`` and this server can trace it.

    The file's table of contents is read, and nothing else of it.
    """
    if not _is_exported_program(model):
        is_cut_off = model.startswith(b"PK") and not zipfile.is_zipfile(io.BytesIO(model))
        raise ProblemError(
            415,
            "unsupported-model",
            ("the file is cut off (no whole zip archive): send it again; " if is_cut_off else "")
            + "only .pt2 files (torch.export.save) are accepted; a .pt pickle can run code, so "
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


def trace_settings(form: ModelForm) -> dict[str, Any]:
    """Return the fields of ``tracing.TraceSettings``."""
    return {
        "mode": form.mode,
        "batch": form.batch,
        "loss": form.loss,
        "target": form.target,
        "optimizer": form.optimizer,
        "learning_rate": form.lr,
        "batch_norm": form.batch_norm,
        "quantize": form.quantize,
        "quantization_aware_scaling": form.quantization_aware_scaling,
        "input_streamed": form.input_streamed,
    }


def request_of_form(
    form: UploadForm | FrontierForm, traced_batch: int | None = None
) -> PlanRequest:
    """Return the request that a form makes.

    Args:
        form: the fields.
        traced_batch: batch where the form names none; before the model is traced None, which
            stands for one that suits the form.

    Raises:
        ProblemError: a field is out of its range, or contradicts another one.
    """
    if form.mode == "infer":
        for name in _TRAINING_FIELDS:
            if name in form.model_fields_set:
                raise _problem(name, f"{name} belongs to training; leave it out, or use mode train")
    micro_batch = _json_or_word(form.micro_batch, "micro_batch")
    body = {
        "budget_bytes": form.budget_bytes,
        "batch": form.batch
        or traced_batch
        or (max(1, micro_batch) if isinstance(micro_batch, int) else 1),
        "micro_batch": micro_batch,
        "update": _json_or_word(form.update, "update"),
        "criterion": form.criterion,
        "compute_limit": form.compute_limit,
        "time_limit_seconds": form.time_limit,
        "deterministic": form.deterministic,
        "seed": form.seed,
    }
    try:
        return PlanRequest.model_validate_json(json.dumps(body))
    except ValidationError as failure:
        raise problem_of_validation(failure, _FIELD_OF) from None


def _read(parse: Callable[[str], _Value], text: str, field: str) -> _Value:
    try:
        return parse(text)
    except RequestError as failure:
        raise _problem(field, f"{field}: {failure}") from None


def _problem(field: str, detail: str) -> ProblemError:
    return ProblemError(422, "invalid-question", detail, errors=[(f"/{field}", detail)])


def _json_or_word(text: str, name: str) -> Any:
    if text[:1] not in "[0123456789":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _problem(name, f"{name}: {text[:40]!r} is neither a word nor JSON") from None


def _is_exported_program(model: bytes) -> bool:
    try:
        names = zipfile.ZipFile(io.BytesIO(model)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    return any(name.endswith("models/model.json") for name in names)
