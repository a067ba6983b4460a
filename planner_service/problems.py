"""RFC 9457 problem details: every error of the service has this shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
    "too_many",
]

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
_MOST_ALTERNATIVES = 3
#: Where a field has several types pydantic names the one that it tried, which no body contains.
_TYPE_TRIED = re.compile(
    r".*[\[(].*|(constrained-)?(bool|int|float|str)|(Operand|Size|Dtype|Float|Running|Phantom)Argument"
)


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


def problem_of_validation(
    failure: ValidationError, names: Mapping[str, str] | None = None
) -> ProblemError:
    """Return what is wrong with a body: 400 if it is no JSON, else 422 with its bad fields.

    Args:
        failure: what pydantic found.
        names: what the client calls fields that we call otherwise.
    """
    errors = failure.errors(include_url=False, include_context=False, include_input=False)
    if any(error["type"] == "json_invalid" for error in errors):
        return ProblemError(400, "not-json", f"the body is no JSON: {errors[0]['msg']}")
    messages: dict[str, dict[str, None]] = {}
    for error in errors:
        pointer = _pointer(error["loc"], names or {})
        message = str(error["msg"]).removeprefix("Value error, ")
        messages.setdefault(pointer, {})[message] = None
    fields = [
        (pointer, "; or ".join([*said][:_MOST_ALTERNATIVES]))
        for pointer, said in [*messages.items()][:_MOST_ERRORS]
    ]
    # Of a union every member complains; the one that got furthest was meant.
    pointer, message = max(fields, key=lambda field: field[0].count("/"))
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return ProblemError(
        422, "invalid-question", f"{pointer or 'body'}: {message}{more}", errors=fields
    )


def too_many(count: int, what: str) -> ProblemError:
    """Return the refusal of a server that has enough to do."""
    return ProblemError(
        429,
        "too-many-questions",
        f"{count} {what} wait already; ask again later",
        headers={"Retry-After": "10"},
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
        404: f"there is nothing at {request.url.path}; try /v1/plans or /v1/frontiers",
        405: f"{request.method} is not offered at {request.url.path}",
    }.get(failure.status_code, str(failure.detail))
    problem = ProblemError(failure.status_code, kind, detail, headers=headers)
    return problem_response(problem, request.url.path)


def _title(problem: ProblemError) -> str:
    return problem.kind.replace("-", " ").capitalize()


def _pointer(location: tuple[int | str, ...], names: Mapping[str, str]) -> str:
    called = (
        names.get(str(part), str(part))
        for part in location
        if isinstance(part, int) or not _TYPE_TRIED.fullmatch(part)
    )
    parts = (part.replace("~", "~0").replace("/", "~1") for part in called)
    return "".join(f"/{part}" for part in parts)
