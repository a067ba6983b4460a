"""RFC 9457 problem details: every error of the service has this shape."""

from __future__ import annotations

import json
from http import HTTPStatus

from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

__all__ = [
    "MEDIA_TYPE",
    "Problem",
    "ProblemError",
    "handle_http_exception",
    "handle_problem",
    "problem_of_validation",
    "problem_response",
]

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20


class FieldError(BaseModel):
    """One bad field of a body."""

    pointer: str = Field(description="JSON Pointer to the field.")
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 writes it."""

    type: str = Field(description="Stable name of the kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, where, and what to do.")
    instance: str | None = None
    errors: list[FieldError] | None = None


class ProblemError(Exception):
    """Raised anywhere in a handler; becomes a problem response.

    Args:
        status: of HTTP.
        kind: stable last part of the problem's type.
        detail: what is wrong, where, what to do.
        errors: (JSON Pointer, message) of bad fields.
        headers: further ones of the response.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


def problem_response(problem: ProblemError, instance: str | None = None) -> Response:
    """Return a problem as a response."""
    body = Problem(
        type=f"urn:memplan:problem:{problem.kind}",
        title=_title(problem),
        status=problem.status,
        detail=problem.detail,
        instance=instance,
        errors=None
        if problem.errors is None
        else [FieldError(pointer=pointer, detail=detail) for pointer, detail in problem.errors],
    )
    return Response(
        json.dumps(body.model_dump(exclude_none=True), ensure_ascii=False),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def problem_of_validation(failure: ValidationError) -> ProblemError:
    """Return what is wrong with a body: 400 if it is no JSON, else 422 with its bad fields."""
    errors = failure.errors(include_url=False, include_context=False, include_input=False)
    if any(error["type"] == "json_invalid" for error in errors):
        return ProblemError(400, "not-json", f"the body is no JSON: {errors[0]['msg']}")
    fields = [
        (_pointer(error["loc"]), str(error["msg"]).removeprefix("Value error, "))
        for error in errors[:_MOST_ERRORS]
    ]
    pointer, message = fields[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return ProblemError(
        422, "invalid-question", f"{pointer or 'body'}: {message}{more}", errors=fields
    )


async def handle_problem(request: Request, failure: Exception) -> Response:
    """Answer a ``ProblemError``."""
    assert isinstance(failure, ProblemError)
    return problem_response(failure, request.url.path)


async def handle_http_exception(request: Request, failure: Exception) -> Response:
    """Answer what the framework refuses: unknown paths, wrong methods."""
    assert isinstance(failure, HTTPException)
    phrase = HTTPStatus(failure.status_code).phrase
    kind = phrase.lower().replace(" ", "-")
    headers = dict(failure.headers or {})
    detail = {
        404: f"there is nothing at {request.url.path}; try /v1/plans or /v1/plans/{{id}}",
        405: f"{request.method} is not offered at {request.url.path}",
    }.get(failure.status_code, str(failure.detail))
    problem = ProblemError(failure.status_code, kind, detail, headers=headers)
    return problem_response(problem, request.url.path)


def _title(problem: ProblemError) -> str:
    return problem.kind.replace("-", " ").capitalize()


def _pointer(location: tuple[int | str, ...]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(f"/{part}" for part in parts)
