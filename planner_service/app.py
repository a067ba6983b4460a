"""The application: paths, and what they answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from memplan.planner_service.body_limit import BodyLimit
from memplan.planner_service.children import ChildWorker, Worker
from memplan.planner_service.jobs import Jobs
from memplan.planner_service.openapi import (
    answer_responses,
    describe,
    frontier_body,
    graph_responses,
    question_body,
)
from memplan.planner_service.problems import (
    ProblemError,
    handle_http_exception,
    handle_problem,
)
from memplan.planner_service.question import Kind, key_of, solver_version
from memplan.planner_service.reading import read_asked
from memplan.planner_service.settings import Settings
from memplan.planner_service.store import PlanStore, open_store
from memplan.planner_service.traces import Traces

__all__ = ["Health", "JobStatus", "create_app"]

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")
Id = Annotated[str, Path(description="From Location or Content-Location.")]
Prefer = Annotated[
    str | None,
    Header(description="wait=N: answer within N seconds if the plan is found by then (RFC 7240)."),
]


class JobStatus(BaseModel):
    """A question that has no answer yet."""

    id: str
    status: Literal["queued", "running"]
    location: str = Field(description="Where the answer will be.")
    graph_location: str = Field(description="Where the graph is that the question is about.")
    progress: dict[str, Any] | None = Field(
        None,
        description="The last the solver said, as memplan.solver.Progress: stage, elapsed_seconds, "
        "arena_bytes, time_ns and importance of the best plan so far, lower_bound_bytes, and the "
        "level that is being improved with its bound and gap. Of a frontier as "
        "memplan.solver.FrontierProgress: done of most searches, budget_bytes of the one that "
        "runs, and its progress as solving.",
    )


class Health(BaseModel):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str
    solver: str


def create_app(
    settings: Settings | None = None,
    *,
    store: PlanStore | None = None,
    worker: Worker | None = None,
) -> FastAPI:
    """Return the service.

    Args:
        settings: limits and places; defaults where None.
        store: where answers are kept; default: as the settings say.
        worker: what solves and traces; default: child processes.
    """
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        answers = open_store(settings.store_path) if store is None else store
        app.state.jobs = Jobs(settings, answers, working)
        app.state.traces = Traces(settings, working)
        yield
        await app.state.jobs.close()
        answers.close()

    working = ChildWorker(settings) if worker is None else worker
    app = FastAPI(
        title="memplan",
        version=version("memplan"),
        summary="How can this model train, or run, in this many bytes?",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes)
    app.add_exception_handler(ProblemError, handle_problem)
    app.add_exception_handler(HTTPException, handle_http_exception)

    @app.post(
        "/v1/plans",
        operation_id="plan",
        summary="Ask for a plan",
        responses=answer_responses(400, 413, 415, 422, 429, 500, 501, 503),
        openapi_extra=question_body(),
    )
    async def ask(request: Request, prefer: Prefer = None) -> Response:
        """The id of a question is the hash of its content: asking again is safe and free."""
        wait_seconds = _wait_seconds(prefer, settings)
        return await _while_serving(_ask(request, "plans", settings, wait_seconds))

    @app.get(
        "/v1/plans/{id}",
        operation_id="get_plan",
        summary="Look at an answer",
        responses=answer_responses(404, 422, 500, 501, 503),
    )
    async def look(
        request: Request,
        id: Id,
        prefer: Prefer = None,
    ) -> Response:
        """Poll for an answer; with Prefer: wait=N the server waits with you."""
        wait_seconds = _wait_seconds(prefer, settings)
        return await _while_serving(_result(request, "plans", id, wait_seconds))

    @app.get(
        "/v1/plans/{id}/graph",
        operation_id="get_graph",
        summary="Get the graph of a plan",
        responses=graph_responses(404, 422, 500, 501),
        response_class=JSONResponse,
    )
    async def graph_of(
        request: Request,
        id: Id,
    ) -> Response:
        """What was sent, or traced from an upload: plan verify and plan run take it with a plan."""
        return await _graph(request, "plans", id)

    @app.post(
        "/v1/frontiers",
        operation_id="frontier",
        summary="Ask for plans over a range of budgets",
        responses=answer_responses(400, 413, 415, 422, 429, 500, 501, 503, of="Frontier"),
        openapi_extra=frontier_body(),
    )
    async def ask_frontier(request: Request, prefer: Prefer = None) -> Response:
        """More bytes never cost more.  The id is a hash, as that of a plan's question."""
        wait_seconds = _wait_seconds(prefer, settings)
        return await _while_serving(_ask(request, "frontiers", settings, wait_seconds))

    @app.get(
        "/v1/frontiers/{id}",
        operation_id="get_frontier",
        summary="Look at a frontier",
        responses=answer_responses(404, 422, 500, 501, 503, of="Frontier"),
    )
    async def look_at_frontier(request: Request, id: Id, prefer: Prefer = None) -> Response:
        """Poll for a frontier; with Prefer: wait=N the server waits with you."""
        wait_seconds = _wait_seconds(prefer, settings)
        return await _while_serving(_result(request, "frontiers", id, wait_seconds))

    @app.get(
        "/v1/frontiers/{id}/graph",
        operation_id="get_graph_of_frontier",
        summary="Get the graph of a frontier",
        responses=graph_responses(404, 422, 500, 501),
        response_class=JSONResponse,
    )
    async def graph_of_frontier(request: Request, id: Id) -> Response:
        """What was sent, or traced from an upload."""
        return await _graph(request, "frontiers", id)

    @app.get("/healthz", operation_id="health", summary="Is the server alive")
    async def health() -> Health:
        """Answers while questions are being solved, too."""
        return Health(version=version("memplan"), solver=solver_version())

    describe(app)
    return app


async def _while_serving(response: Awaitable[Response]) -> Response:
    """Return a response; who waits for one when the server ends is told so."""
    try:
        return await response
    except asyncio.CancelledError:
        raise ProblemError(
            503,
            "server-ends",
            "the server was stopped before it had an answer; ask again",
            headers={"Retry-After": "10"},
        ) from None


async def _ask(request: Request, kind: Kind, settings: Settings, wait_seconds: float) -> Response:
    name = await request.app.state.jobs.submit(await read_asked(request, kind, settings))
    return await _result(request, kind, name, wait_seconds)


async def _result(request: Request, kind: Kind, name: str, wait_seconds: float) -> Response:
    """Return the answer, the state of the job, or why there is neither."""
    jobs: Jobs = request.app.state.jobs
    key = key_of(kind, name)
    await jobs.wait(key, wait_seconds)
    location = f"{request.scope.get('root_path', '')}/v1/{kind}/{name}"
    link = {"Link": f'<{location}/graph>; rel="related"; title="graph"'}
    # Before the store: a job leaves this table only after its answer is stored.
    job = jobs.job(key)
    answer = await jobs.answer(key)
    if answer is not None:
        return Response(
            answer, media_type="application/json", headers={"Content-Location": location} | link
        )
    if job is not None:
        body = JobStatus(
            id=name,
            status=job.status,
            location=location,
            graph_location=f"{location}/graph",
            progress=job.progress,
        )
        headers = {"Location": location, "Retry-After": "1"} | link
        return JSONResponse(body.model_dump(exclude_none=True), status_code=202, headers=headers)
    raise _nothing(jobs, kind, name)


async def _graph(request: Request, kind: Kind, name: str) -> Response:
    """Return the graph of a question, or why there is none."""
    jobs: Jobs = request.app.state.jobs
    graph = await jobs.graph(key_of(kind, name))
    if graph is None:
        raise _nothing(jobs, kind, name)
    return Response(graph, media_type="application/json")


def _nothing(jobs: Jobs, kind: Kind, name: str) -> ProblemError:
    """Return why there is nothing under an id: the question failed, or was never asked."""
    return jobs.failure(key_of(kind, name)) or ProblemError(
        404,
        f"unknown-{kind.removesuffix('s')}",
        f"no question has the id {name[:80]}; POST it to /v1/{kind}",
    )


def _wait_seconds(prefer: str | None, settings: Settings) -> float:
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), settings.max_wait_seconds) if match else 0.0
