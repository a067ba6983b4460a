"""Questions that bring a plan to go on from."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from memplan.ir.answer import Answer
from memplan.ir.base import canonical_json
from memplan.ir.errors import RequestError
from memplan.ir.plan import Plan
from memplan.planner_service.child import _solve
from memplan.planner_service.question import Question, question_id
from tests.support.answers import found, not_found
from tests.support.hand_graphs import chain
from tests.support.service import FakeWorker, body_of, question

HEADERS = {"Content-Type": "application/json", "Prefer": "wait=5"}


def _plan() -> Plan:
    asked = question()
    plan = found(asked.graph, asked.request).plan
    assert plan is not None
    return plan


def _post(client: TestClient, asked: Question, **more: Any) -> Any:
    body = asked.model_dump(mode="json", by_alias=True) | more
    return client.post("/v1/plans", content=canonical_json(body), headers=HEADERS)


def test_a_plan_in_the_question_reaches_the_solver(client: TestClient, worker: FakeWorker) -> None:
    plan = _plan()
    asked = question(900_000)
    response = _post(client, asked, start=plan.model_dump(mode="json", by_alias=True))
    assert response.status_code == 200
    assert worker.solved[0].start == plan
    name = response.headers["content-location"].rsplit("/", 1)[-1]
    assert name != question_id(asked)  # its search is another one
    assert name == question_id(asked.model_copy(update={"start": plan}))


def test_the_id_of_an_answer_stands_for_its_plan(client: TestClient, worker: FakeWorker) -> None:
    first = client.post("/v1/plans", content=body_of(question()), headers=HEADERS)
    name = first.headers["content-location"].rsplit("/", 1)[-1]
    response = _post(client, question(900_000), start_id=name)
    assert response.status_code == 200
    assert worker.solved[1].start == Answer.from_json(first.content).plan
    again = _post(
        client,
        question(900_000),
        start=Answer.from_json(first.content).plan.model_dump(mode="json", by_alias=True),  # type: ignore[union-attr]
    )
    assert again.headers["content-location"] == response.headers["content-location"]
    assert len(worker.solved) == 2


def test_starts_that_are_none(client: TestClient, worker: FakeWorker) -> None:
    plan = _plan().model_dump(mode="json", by_alias=True)
    other = Question(graph=chain(3), request=question().request)
    for asked, more, words in (
        (question(), {"start_id": "f" * 64}, "no answer is stored"),
        (question(), {"start_id": "f" * 200}, "at most 100"),
        (question(), {"start_id": "a", "start": plan}, "send one of them"),
        (other, {"start": plan}, "another graph"),
        (question(), {"start": plan | {"trips": "many"}}, "trips"),
        (question(), {"start": plan | {"surprise": 1}}, "surprise"),
    ):
        response = _post(client, asked, **more)
        assert response.status_code == 422
        assert words in response.text
    assert worker.solved == []


def test_an_answer_without_a_plan_is_no_start(client: TestClient) -> None:
    store = client.app.state.jobs._store  # type: ignore[attr-defined]
    asked = question()
    store.put("b" * 64, not_found(asked.graph, asked.request, proved=False).to_json(), "{}")
    response = _post(client, question(), start_id="b" * 64)
    assert response.status_code == 422 and "has no plan" in response.text


def test_a_wrong_plan_is_the_askers_fault() -> None:
    plan = _plan()
    first = plan.buffers[0]
    broken = (first.model_copy(update={"size_bytes": first.size_bytes + 1}), *plan.buffers[1:])
    asked = question().model_copy(update={"start": plan.model_copy(update={"buffers": broken})})
    with pytest.raises(RequestError, match="start: plan for chain rejected"):
        _solve({}, body_of(asked).encode(), lambda message: None)
