"""Bodies of questions: JSON with a graph, or a form with a model that is traced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from memplan.ir.errors import MemplanError
from memplan.ir.graph import OpGraph
from memplan.planner_service.jobs import Jobs
from memplan.planner_service.problems import ProblemError, problem_of_validation
from memplan.planner_service.question import (
    Asked,
    FrontierQuestion,
    Kind,
    Question,
    key_of,
    must_be_allowed,
    must_be_answerable,
    must_be_few,
    read_frontier_question,
    read_question,
    with_start,
)
from memplan.planner_service.settings import Settings
from memplan.planner_service.uploads import (
    FrontierForm,
    UploadForm,
    file_name,
    must_be_traceable,
    request_of_form,
    trace_settings,
)

__all__ = ["read_asked"]

_READERS: dict[Kind, Callable[[bytes, Settings], Asked]] = {
    "plans": read_question,
    "frontiers": read_frontier_question,
}


async def read_asked(request: Request, kind: Kind, settings: Settings) -> Asked:
    """Return the question of a body.

    Raises:
        ProblemError: whatever is wrong with it.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ProblemError(
            415, "unsupported-media-type", f"the body is encoded ({encoding[:40]}); send it plain"
        )
    jobs: Jobs = request.app.state.jobs
    try:
        if media_type == "application/json":
            asked = await _from_json(await request.body(), kind, settings)
            if isinstance(asked, Question) and asked.start_id is not None:
                return await _with_start_of(jobs, asked)
            return asked
        if media_type == "multipart/form-data":
            return await _from_upload(request, kind, settings)
    except MemplanError as failure:
        raise ProblemError(422, "invalid-question", str(failure)) from None
    raise ProblemError(
        415,
        "unsupported-media-type",
        f"the body is {media_type[:80] or 'of no type'}; send application/json with graph and "
        "request, or multipart/form-data with a .pt2 file (convert a .pt with plan trace "
        "MODEL.pt --input SHAPE:DTYPE -o graph.json)",
    )


async def _from_json(body: bytes, kind: Kind, settings: Settings) -> Asked:
    try:
        # In a thread: a graph of many megabytes takes a while.
        return await asyncio.to_thread(_READERS[kind], body, settings)
    except ValidationError as failure:
        raise problem_of_validation(failure) from None
    except RecursionError:
        raise ProblemError(400, "not-json", "the body is nested too deeply") from None


async def _with_start_of(jobs: Jobs, question: Question) -> Question:
    """Return a question with the plan that its ``start_id`` means."""
    answer = await _stored_answer(jobs, question.start_id or "")
    return await asyncio.to_thread(with_start, question, answer)


async def _stored_answer(jobs: Jobs, name: str) -> str | None:
    # Only ids of plans are looked up: keys of what else is stored have other characters.
    return await jobs.answer(key_of("plans", name)) if name.isalnum() else None


async def _from_upload(request: Request, kind: Kind, settings: Settings) -> Asked:
    """Return the question of a form: fields are looked at first, then the file, then its model."""
    jobs: Jobs = request.app.state.jobs
    async with request.form(
        max_files=1, max_fields=32, max_part_size=settings.max_body_bytes
    ) as fields:
        model = fields.get("model")
        if not isinstance(model, UploadFile):
            raise ProblemError(422, "invalid-question", "the form has no file field named model")
        if len({*fields}) < len(fields.multi_items()):
            raise ProblemError(422, "invalid-question", "a form field stands twice")
        others = {name: value for name, value in fields.items() if name != "model"}
        form_of = UploadForm if kind == "plans" else FrontierForm
        try:
            form = form_of.model_validate(others)
        except ValidationError as failure:
            raise problem_of_validation(failure) from None
        must_be_allowed(request_of_form(form), settings)
        if isinstance(form, UploadForm):
            await _must_be_stored(jobs, form.start_id)
        else:
            wanted = form.wanted
            must_be_few(wanted if isinstance(wanted, int) else len({*wanted}), settings)
        jobs.must_have_room()
        content, name = await model.read(), file_name(model.filename)
    await asyncio.to_thread(must_be_traceable, content)
    traced = await request.app.state.traces.trace(content, name, trace_settings(form))
    asked = await asyncio.to_thread(_question_of_graph, traced, form)
    if isinstance(asked, Question) and asked.start_id is not None:
        return await _with_start_of(jobs, asked)
    return asked


async def _must_be_stored(jobs: Jobs, start_id: str | None) -> None:
    """Raise ProblemError before a model is traced for a start that is not there."""
    if start_id is not None and await _stored_answer(jobs, start_id) is None:
        raise ProblemError(
            422,
            "invalid-question",
            f"start_id: no answer is stored under {start_id[:80]}; leave it out",
            errors=[("/start_id", "no answer is stored under this id")],
        )


def _question_of_graph(traced: str, form: UploadForm | FrontierForm) -> Asked:
    graph = OpGraph.from_json(traced, "traced graph")
    request = request_of_form(form, graph.traced_batch)
    asked: Asked
    if isinstance(form, UploadForm):
        asked = Question(graph=graph, request=request, start_id=form.start_id)
    else:
        asked = FrontierQuestion(graph=graph, request=request, budgets=form.wanted)
    must_be_answerable(asked)
    return asked
