"""What OpenAPI says beyond what the framework finds out: bodies that are read by hand."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from memplan.ir.answer import Answer
from memplan.planner_service.problems import MEDIA_TYPE, Problem
from memplan.planner_service.question import Question
from memplan.planner_service.uploads import UploadForm

__all__ = ["answer_responses", "describe", "question_body"]

_PLACE = "#/components/schemas/{model}"


def question_body() -> dict[str, Any]:
    """Return the two bodies that ``POST /v1/plans`` takes."""
    form = UploadForm.model_json_schema()
    form["properties"]["model"] = {
        "type": "string",
        "format": "binary",
        "description": "A .pt2 file (torch.export.save).  Its JSON is read; no code of it runs.",
    }
    form["required"] = ["model", *form["required"]]
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": _PLACE.format(model="Question")}},
                "multipart/form-data": {"schema": form},
            },
        }
    }


def answer_responses(*problems: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of an operation that leads to an answer."""
    answer = {"schema": {"$ref": _PLACE.format(model="Answer")}}
    status = {"schema": {"$ref": _PLACE.format(model="JobStatus")}}
    problem = {"schema": {"$ref": _PLACE.format(model="Problem")}}
    text = {"schema": {"type": "string"}}
    return {
        200: {
            "description": "The answer, with a plan or a proof, or undecided.",
            "content": {"application/json": answer},
            "headers": {"Content-Location": text},
        },
        202: {
            "description": "Being worked on; look at Location.",
            "content": {"application/json": status},
            "headers": {"Location": text, "Retry-After": text},
        },
        **{
            code: {"description": HTTPStatus(code).phrase, "content": {MEDIA_TYPE: problem}}
            for code in problems
        },
    }


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
                    (Answer, "serialization"),
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
