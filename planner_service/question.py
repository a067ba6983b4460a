"""A question: a graph and a request, and the id that its content gives it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from memplan.ir.answer import Answer
from memplan.ir.base import Contract, content_hash
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.limits import MAX_BYTES, MAX_FRONTIER
from memplan.ir.options import update_options
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.planner_service.settings import Settings

__all__ = [
    "Asked",
    "FrontierQuestion",
    "Kind",
    "Question",
    "key_of",
    "kind_of",
    "must_be_allowed",
    "must_be_answerable",
    "must_be_few",
    "question_id",
    "read_frontier_question",
    "read_question",
    "solver_version",
    "with_start",
]

#: What is asked for: also the place of the answers, below ``/v1``.
Kind = Literal["plans", "frontiers"]


class Question(Contract):
    """The body of ``POST /v1/plans``."""

    graph: Annotated[OpGraph, Field(description="What plan trace writes.")]
    request: Annotated[PlanRequest, Field(description="What is wanted of the graph.")]
    start: Annotated[
        Plan | None,
        Field(
            description="A plan of the same graph, for another budget say, that the search goes on "
            "from; it takes about an eighth of the time limit then."
        ),
    ] = None
    start_id: Annotated[
        str | None,
        Field(
            description="In place of start: the id of an answered question whose plan is meant.",
            max_length=100,
        ),
    ] = None


Budget = Annotated[int, Field(ge=1, le=MAX_BYTES)]


class FrontierQuestion(Contract):
    """The body of ``POST /v1/frontiers``."""

    graph: Annotated[OpGraph, Field(description="What plan trace writes.")]
    request: Annotated[
        PlanRequest,
        Field(
            description="What is wanted of the graph. Its budget_bytes does not matter, and its "
            "time limit is that of all budgets together."
        ),
    ]
    budgets: Annotated[
        Annotated[int, Field(ge=1, le=MAX_FRONTIER)]
        | Annotated[tuple[Budget, ...], Field(min_length=1, max_length=MAX_FRONTIER)],
        Field(
            description="Bytes each; or how many, evenly from the smallest plan that is found to "
            "the one from which more bytes buy nothing."
        ),
    ] = 20

    @property
    def count(self) -> int:
        """How many budgets there are."""
        return self.budgets if isinstance(self.budgets, int) else len(set(self.budgets))


#: Whatever jobs are made of.
Asked = Question | FrontierQuestion


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


def read_frontier_question(body: bytes, settings: Settings) -> FrontierQuestion:
    """Return the question of a JSON body; errors as ``read_question``."""
    must_be_allowed(_RequestAlone.model_validate_json(body).request, settings)
    question = FrontierQuestion.model_validate_json(body)
    must_be_few(question.count, settings)
    must_be_answerable(question)
    return question


def solver_version() -> str:
    """Return what an answer depends on beside the question.

    As ``memplan.solver.solver_version`` says it, without importing the solver.
    """
    return f"memplan {version('memplan')} / ortools {_installed('ortools')}"


def kind_of(question: Asked) -> Kind:
    """Return what a question asks for."""
    return "frontiers" if isinstance(question, FrontierQuestion) else "plans"


def key_of(kind: Kind, name: str) -> str:
    """Return what jobs and stores call a question: ids of plans as they are.

    An id from an address has no slash, so nothing of one kind is found under the other.
    """
    return name if kind == "plans" else f"{kind}/{name}"


def question_id(question: Asked) -> str:
    """Return the name of a question: the content hash of all that it says, and the version."""
    parts: dict[str, Any] = {
        "graph": question.graph.content_hash(),
        "request": question.request.content_hash(),
        "solver": solver_version(),
    }
    if isinstance(question, FrontierQuestion):
        parts["request"] = question.request.model_copy(update={"budget_bytes": 1}).content_hash()
        budgets = question.budgets
        parts["budgets"] = budgets if isinstance(budgets, int) else sorted(set(budgets))
    elif question.start is not None:
        # A search that goes on from a plan ends earlier, and may find something else.
        parts["start"] = question.start.content_hash()
    return content_hash(parts).removeprefix("sha256:")


def must_be_allowed(request: PlanRequest, settings: Settings) -> None:
    """Raise RequestError where a request asks for more than this server gives to anyone."""
    if request.time_limit_seconds > settings.max_time_limit_seconds:
        raise RequestError(
            f"time_limit_seconds {request.time_limit_seconds}: this server allows "
            f"{settings.max_time_limit_seconds}"
        )
    if request.workers > settings.max_workers:
        raise RequestError(f"workers {request.workers}: this server allows {settings.max_workers}")


def must_be_few(budgets: int, settings: Settings) -> None:
    """Raise RequestError where a frontier has more budgets than this server plans at once."""
    if budgets > settings.max_budgets:
        raise RequestError(f"{budgets} budgets: this server allows {settings.max_budgets}")


def must_be_answerable(question: Asked) -> None:
    """Raise RequestError where it is plain before solving that request and graph contradict."""
    graph, request = question.graph, question.request
    if not graph.batch_symbolic and request.batch != graph.traced_batch:
        raise RequestError(
            f"batch {request.batch}: the graph holds for a batch of {graph.traced_batch} only"
        )
    update_options(graph, request)
    if isinstance(question, FrontierQuestion) or question.start is None:
        return
    if question.start_id is not None:
        raise RequestError("start and start_id: send one of them, or neither")
    if question.start.certificate.graph_hash != graph.content_hash():
        raise RequestError("start: this is a plan of another graph; start from one of this graph")


def with_start(question: Question, answer: str | None) -> Question:
    """Return the question with the plan that its ``start_id`` means.

    Args:
        answer: what is stored under that id, as JSON.

    Raises:
        RequestError: nothing is, or it has no plan, or that is of another graph.
    """
    name = str(question.start_id)[:80]
    if answer is None:
        raise RequestError(f"start_id: no answer is stored under {name}; send the plan as start")
    plan = Answer.from_json(answer, name).plan
    if plan is None:
        raise RequestError(f"start_id: the answer {name} has no plan; leave start_id out")
    started = question.model_copy(update={"start": plan, "start_id": None})
    must_be_answerable(started)
    return started


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
