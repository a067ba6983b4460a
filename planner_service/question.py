"""A question: a graph and a request, and the id that its content gives it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from memplan.ir.base import Contract, content_hash
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.options import update_options
from memplan.ir.request import PlanRequest
from memplan.planner_service.settings import Settings

__all__ = [
    "Question",
    "must_be_allowed",
    "must_be_answerable",
    "question_id",
    "read_question",
    "solver_version",
]


class Question(Contract):
    """The body of ``POST /v1/plans``."""

    graph: Annotated[OpGraph, Field(description="What plan trace writes.")]
    request: Annotated[PlanRequest, Field(description="What is wanted of the graph.")]


class _RequestAlone(BaseModel):
    """A question's body of which the graph is not looked at."""

    model_config = ConfigDict(extra="ignore")

    request: PlanRequest


def read_question(body: bytes, settings: Settings) -> Question:
    """Return the question of a JSON body; what is cheap to refuse is looked at first.

    Raises:
        ValidationError, RecursionError: the body is no question.
        RequestError: the question has no answer here.
    """
    must_be_allowed(_RequestAlone.model_validate_json(body).request, settings)
    question = Question.model_validate_json(body)
    must_be_answerable(question)
    return question


def solver_version() -> str:
    """Return what an answer depends on beside the question.

    As ``memplan.solver.solver_version`` says it, without importing the solver.
    """
    return f"memplan {version('memplan')} / ortools {_installed('ortools')}"


def question_id(question: Question) -> str:
    """Return the name of a question: the content hash of graph, request and solver version."""
    return content_hash(
        {
            "graph": question.graph.content_hash(),
            "request": question.request.content_hash(),
            "solver": solver_version(),
        }
    ).removeprefix("sha256:")


def must_be_allowed(request: PlanRequest, settings: Settings) -> None:
    """Raise RequestError where a request asks for more than this server gives to anyone."""
    if request.time_limit_seconds > settings.max_time_limit_seconds:
        raise RequestError(
            f"time_limit_seconds {request.time_limit_seconds}: this server allows "
            f"{settings.max_time_limit_seconds}"
        )
    if request.workers > settings.max_workers:
        raise RequestError(f"workers {request.workers}: this server allows {settings.max_workers}")


def must_be_answerable(question: Question) -> None:
    """Raise RequestError where it is plain before solving that request and graph contradict."""
    graph, request = question.graph, question.request
    if not graph.batch_symbolic and request.batch != graph.traced_batch:
        raise RequestError(
            f"batch {request.batch}: the graph holds for a batch of {graph.traced_batch} only"
        )
    update_options(graph, request)


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
