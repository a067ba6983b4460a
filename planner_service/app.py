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
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from memplan.ir.errors import MemplanError
from memplan.ir.graph import OpGraph
from memplan.planner_service.body_limit import BodyLimit
from memplan.planner_service.children import ChildWorker, Worker
from memplan.planner_service.jobs import Jobs
from memplan.planner_service.openapi import (
    answer_responses,
    describe,
    graph_responses,
    question_body,
)
from memplan.planner_service.problems import (
    ProblemError,
    handle_http_exception,
    handle_problem,
    problem_of_validation,
)
from memplan.planner_service.question import (
    Question,
    must_be_allowed,
    must_be_answerable,
    read_question,
    solver_version,
    with_start,
)
from memplan.planner_service.settings import Settings
from memplan.planner_service.store import PlanStore, open_store
from memplan.planner_service.traces import Traces
from memplan.planner_service.uploads import (
    UploadForm,
    file_name,
    must_be_traceable,
    request_of_form,
    trace_settings,
)

__all__ = ["Health", "JobStatus", "create_app"]

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})")
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
        "level that is being improved with its bound and gap.",
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
        return await _while_serving(_ask(request, settings, _wait_seconds(prefer, settings)))

    @app.get(
        "/v1/plans/{id}",
        operation_id="get_plan",
        summary="Look at an answer",
        responses=answer_responses(404, 422, 500, 501, 503),
    )
    async def look(
        request: Request,
        id: Annotated[str, Path(description="From Location or Content-Location.")],
        prefer: Prefer = None,
    ) -> Response:
        """Poll for an answer; with Prefer: wait=N the server waits with you."""
        return await _while_serving(_result(request, id, _wait_seconds(prefer, settings)))

    @app.get(
        "/v1/plans/{id}/graph",
        operation_id="get_graph",
        summary="Get the graph of a plan",
        responses=graph_responses(404, 422, 500, 501),
        response_class=JSONResponse,
    )
    async def graph_of(
        request: Request,
        id: Annotated[str, Path(description="From Location or Content-Location.")],
    ) -> Response:
        """What was sent, or traced from an upload: plan verify and plan run take it with a plan."""
        return await _graph(request, id)

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


async def _ask(request: Request, settings: Settings, wait_seconds: float) -> Response:
    name = await request.app.state.jobs.submit(await _read_question(request, settings))
    return await _result(request, name, wait_seconds)


async def _result(request: Request, name: str, wait_seconds: float) -> Response:
    """Return the answer, the state of the job, or why there is neither."""
    jobs: Jobs = request.app.state.jobs
    await jobs.wait(name, wait_seconds)
    location = f"{request.scope.get('root_path', '')}/v1/plans/{name}"
    link = {"Link": f'<{location}/graph>; rel="related"; title="graph"'}
    # Before the store: a job leaves this table only after its answer is stored.
    job = jobs.job(name)
    answer = await jobs.answer(name)
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
    raise _nothing(jobs, name)


async def _graph(request: Request, name: str) -> Response:
    """Return the graph of a question, or why there is none."""
    jobs: Jobs = request.app.state.jobs
    graph = await jobs.graph(name)
    if graph is None:
        raise _nothing(jobs, name)
    return Response(graph, media_type="application/json")


def _nothing(jobs: Jobs, name: str) -> ProblemError:
    """Return why there is nothing under an id: the question failed, or was never asked."""
    return jobs.failure(name) or ProblemError(
        404, "unknown-plan", f"no question has the id {name[:80]}; POST it to /v1/plans"
    )


async def _read_question(request: Request, settings: Settings) -> Question:
    """Return the question of a body; whatever is wrong with it is a problem of its own."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ProblemError(
            415, "unsupported-media-type", f"the body is encoded ({encoding[:40]}); send it plain"
        )
    try:
        if media_type == "application/json":
            question = await _from_json(await request.body(), settings)
            if question.start_id is None:
                return question
            answer = await request.app.state.jobs.answer(question.start_id)
            return await asyncio.to_thread(with_start, question, answer)
        if media_type == "multipart/form-data":
            return await _from_upload(request, settings)
    except MemplanError as failure:
        raise ProblemError(422, "invalid-question", str(failure)) from None
    raise ProblemError(
        415,
        "unsupported-media-type",
        f"the body is {media_type[:80] or 'of no type'}; send application/json with graph and "
        "request, or multipart/form-data with a .pt2 file (convert a .pt with plan trace "
        "MODEL.pt --input SHAPE:DTYPE -o graph.json)",
    )


async def _from_json(body: bytes, settings: Settings) -> Question:
    try:
        # In a thread: a graph of many megabytes takes a while.
        return await asyncio.to_thread(read_question, body, settings)
    except ValidationError as failure:
        raise problem_of_validation(failure) from None
    except RecursionError:
        raise ProblemError(400, "not-json", "the body is nested too deeply") from None


async def _from_upload(request: Request, settings: Settings) -> Question:
    """Return the question of a form: fields are looked at first, then the file, then its model."""
    async with request.form(
        max_files=1, max_fields=32, max_part_size=settings.max_body_bytes
    ) as fields:
        model = fields.get("model")
        if not isinstance(model, UploadFile):
            raise ProblemError(422, "invalid-question", "the form has no file field named model")
        if len({*fields}) < len(fields.multi_items()):
            raise ProblemError(422, "invalid-question", "a form field stands twice")
        others = {name: value for name, value in fields.items() if name != "model"}
        try:
            form = UploadForm.model_validate(others)
        except ValidationError as failure:
            raise problem_of_validation(failure) from None
        must_be_allowed(request_of_form(form), settings)
        request.app.state.jobs.must_have_room()
        content, name = await model.read(), file_name(model.filename)
    await asyncio.to_thread(must_be_traceable, content)
    traced = await request.app.state.traces.trace(content, name, trace_settings(form))
    return await asyncio.to_thread(_question_of_graph, traced, form)


def _question_of_graph(traced: str, form: UploadForm) -> Question:
    graph = OpGraph.from_json(traced, "traced graph")
    question = Question(graph=graph, request=request_of_form(form, graph.traced_batch))
    must_be_answerable(question)
    return question


def _wait_seconds(prefer: str | None, settings: Settings) -> float:
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), settings.max_wait_seconds) if match else 0.0
