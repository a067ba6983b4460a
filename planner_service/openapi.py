"""What OpenAPI says beyond what the framework finds out: bodies that are read by hand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from memplan.ir.answer import Answer
from memplan.ir.frontier import Frontier
from memplan.planner_service.problems import MEDIA_TYPE, Problem
from memplan.planner_service.question import FrontierQuestion, Question
from memplan.planner_service.uploads import FrontierForm, ModelForm, UploadForm

__all__ = [
    "EXAMPLE_QUESTION",
    "answer_responses",
    "describe",
    "frontier_body",
    "graph_responses",
    "question_body",
]

_PLACE = "#/components/schemas/{model}"
_ID = "3832d116eff6adc592edee599fc9c816a3f62b52eb84966d7f175b5091293030"

#: The smallest question: one inference of one operation.
EXAMPLE_QUESTION: dict[str, Any] = {
    "graph": {
        "schema": "memplan.graph/1",
        "name": "relu",
        "mode": "infer",
        "traced_batch": 1,
        "batch_symbolic": False,
        "tensors": [
            {
                "id": name,
                "role": role,
                "dtype": "float32",
                "shape": [1, 64],
                "strides": [64, 1],
                "size_bytes": 256,
            }
            for name, role in (("x", "input"), ("y", "activation"))
        ],
        "operations": [
            {
                "id": "relu",
                "phase": "forward",
                "writes": ["y"],
                "alternatives": [
                    {
                        "name": "plain",
                        "target": "aten.relu.default",
                        "reads": [{"tensor": "x"}],
                        "arguments": [{"operand": 0}],
                        "in_place": [{"read": 0, "write": 0}],
                        "moved_bytes": 512,
                    }
                ],
            }
        ],
        "outputs": ["y"],
    },
    "request": {"budget_bytes": 1024, "batch": 1, "time_limit_seconds": 5.0},
}
_EXAMPLE_FRONTIER_QUESTION = EXAMPLE_QUESTION | {"budgets": [512, 1024]}
_EXAMPLE_FRONTIER_FORM = {"model": "(the file)", "budgets": "128KB,256KB,1MB", "time_limit": 60}
_EXAMPLE_FORM = {"model": "(the file)", "budget": "256KB", "batch": 2, "optimizer": "adam"}
_EXAMPLE_STATUS = {
    "id": _ID,
    "status": "running",
    "location": f"/v1/plans/{_ID}",
    "graph_location": f"/v1/plans/{_ID}/graph",
    "progress": {
        "stage": "schedule, micro-batch 1",
        "elapsed_seconds": 0.4,
        "arena_bytes": 960,
        "time_ns": 2100,
        "importance": 0,
        "lower_bound_bytes": 512,
        "level": "time_ns",
        "bound": 2000,
        "gap": 0.047619047619047616,
    },
}
_FOUND = {
    "Answer": "The answer, with a plan or a proof, or undecided.",
    "Frontier": "An answer for each budget, the smallest first.",
}
_DESCRIPTIONS = {
    400: "The body is no JSON, or a broken form.",
    404: "No question has this id, or the server was restarted without a store: ask again.",
    413: "The body is larger than the server reads.",
    415: "Neither JSON nor a form, or a model that is no .pt2.",
    422: "A field is wrong, request and graph contradict each other, or the model is bad.",
    429: "As many questions wait as may wait; see Retry-After.",
    500: "The process that worked on the question failed; asking again is safe.",
    501: "The server lacks what this needs.",
    503: "The server is being stopped; ask again.",
}


def question_body() -> dict[str, Any]:
    """Return the two bodies that ``POST /v1/plans`` takes."""
    return _body(Question, EXAMPLE_QUESTION, UploadForm, _EXAMPLE_FORM)


def frontier_body() -> dict[str, Any]:
    """Return the two bodies that ``POST /v1/frontiers`` takes."""
    return _body(FrontierQuestion, _EXAMPLE_FRONTIER_QUESTION, FrontierForm, _EXAMPLE_FRONTIER_FORM)


def _body(
    question: type[BaseModel],
    example: dict[str, Any],
    fields: type[ModelForm],
    example_form: dict[str, Any],
) -> dict[str, Any]:
    form = fields.model_json_schema()
    form["properties"]["model"] = {
        "type": "string",
        "format": "binary",
        "description": "A .pt2 file (torch.export.save).  Its JSON is read; no code of it runs.",
    }
    form["required"] = ["model", *form.get("required", [])]
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _PLACE.format(model=question.__name__)},
                    "example": example,
                },
                "multipart/form-data": {"schema": form, "example": example_form},
            },
        }
    }


def answer_responses(*problems: int, of: str = "Answer") -> dict[int | str, dict[str, Any]]:
    """Return the responses of an operation that leads to an answer, or another document."""
    answer = {"schema": {"$ref": _PLACE.format(model=of)}}
    status = {"schema": {"$ref": _PLACE.format(model="JobStatus")}, "example": _EXAMPLE_STATUS}
    text = {"schema": {"type": "string"}}
    return {
        200: {
            "description": _FOUND[of],
            "content": {"application/json": answer},
            "headers": {"Content-Location": text, "Link": text},
        },
        202: {
            "description": "Being worked on; look at Location.",
            "content": {"application/json": status},
            "headers": {"Location": text, "Retry-After": text, "Link": text},
        },
        **{code: _problem(code) for code in problems},
    }


def graph_responses(*problems: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of an operation that gives a graph."""
    graph = {"schema": {"$ref": _PLACE.format(model="OpGraph")}}
    return {
        200: {
            "description": "The graph: its content hash is graph_hash in the plan's certificate.",
            "content": {"application/json": graph},
        },
        **{code: _problem(code) for code in problems},
    }


def _problem(code: int) -> dict[str, Any]:
    example = {
        "type": "urn:memplan:problem:...",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "detail": _DESCRIPTIONS[code],
    }
    response: dict[str, Any] = {
        "description": _DESCRIPTIONS[code],
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _PLACE.format(model="Problem")},
                "example": example,
            }
        },
    }
    if code in (429, 503):
        response["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return response


def describe(app: FastAPI) -> None:
    """Make ``app`` describe itself with the schemas of the contracts."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            from memplan.planner_service.app import JobStatus

            schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            _, definitions = models_json_schema(
                [
                    (Question, "validation"),
                    (FrontierQuestion, "validation"),
                    (Answer, "serialization"),
                    (Frontier, "serialization"),
                    (JobStatus, "serialization"),
                    (Problem, "serialization"),
                ],
                by_alias=True,
                ref_template=_PLACE,
            )
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components.update(definitions["$defs"])
            # Problems are not the framework's own shape.
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
