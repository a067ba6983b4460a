"""``/v1/frontiers``: plans over a range of budgets, asked for as plans are."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from memplan.ir.base import canonical_json
from memplan.ir.check.frontier import require_frontier
from memplan.ir.errors import RequestError
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph
from memplan.planner_service.children import ChildWorker
from memplan.planner_service.question import FrontierQuestion, must_be_few, question_id
from memplan.planner_service.settings import Settings
from tests.planner_service.test_app import assert_problem
from tests.planner_service.test_uploads import EXPORTED
from tests.support.service import FakeWorker, body_of, frontier_question, question

WAIT = {"Content-Type": "application/json", "Prefer": "wait=5"}


def post(client: TestClient, body: str | bytes, headers: dict[str, str] | None = None) -> Any:
    return client.post("/v1/frontiers", content=body, headers=WAIT if headers is None else headers)


def upload(client: TestClient, path: str = "/v1/frontiers", **fields: Any) -> Any:
    files = {"model": ("net.pt2", EXPORTED)}
    return client.post(path, files=files, data=fields, headers={"Prefer": "wait=5"})


def changed(**changes: Any) -> str:
    body = frontier_question().model_dump(mode="json", by_alias=True) | changes
    return canonical_json(body)


def test_a_frontier_within_the_wait(client: TestClient) -> None:
    asked = frontier_question()
    response = post(client, body_of(asked))
    assert response.status_code == 200
    frontier = Frontier.from_json(response.content)
    require_frontier(asked.graph, frontier, asked.request, (10**6, 2 * 10**6))
    location = response.headers["content-location"]
    assert location == f"/v1/frontiers/{question_id(asked)}"
    assert client.get(location).content == response.content
    graph = client.get(response.links["related"]["url"])
    assert OpGraph.from_json(graph.content) == asked.graph


def test_later_frontiers_are_polled(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    response = post(client, body_of(frontier_question()), WAIT | {"Prefer": "wait=0"})
    assert response.status_code == 202
    body = response.json()
    assert body["location"] == response.headers["location"]
    assert body["graph_location"] == f"{body['location']}/graph"
    worker.go.set()
    found = client.get(body["location"], headers={"Prefer": "wait=5"})
    assert found.status_code == 200


def test_the_same_question_in_other_words(client: TestClient, worker: FakeWorker) -> None:
    first = post(client, body_of(frontier_question((10**6, 2 * 10**6))))
    for other in ((2 * 10**6, 10**6), (10**6, 2 * 10**6, 10**6)):
        again = post(client, body_of(frontier_question(other)))
        assert again.headers["content-location"] == first.headers["content-location"]
    request = frontier_question().request.model_copy(update={"budget_bytes": 77})
    again = post(client, changed(request=request.model_dump(mode="json", by_alias=True)))
    assert again.headers["content-location"] == first.headers["content-location"]
    assert len(worker.surveyed) == 1
    other = post(client, body_of(frontier_question((10**6,))))
    assert other.headers["content-location"] != first.headers["content-location"]


def test_plans_and_frontiers_are_not_found_under_each_other(client: TestClient) -> None:
    frontier = post(client, body_of(frontier_question())).headers["content-location"]
    plan = client.post("/v1/plans", content=body_of(question()), headers=WAIT)
    name, plan_name = (
        place.rsplit("/", 1)[-1] for place in (frontier, plan.headers["content-location"])
    )
    problem = assert_problem(client.get(f"/v1/plans/{name}"), 404, "POST it to /v1/plans")
    assert problem["type"].endswith("unknown-plan")
    problem = assert_problem(client.get(f"/v1/frontiers/{plan_name}"), 404, "/v1/frontiers")
    assert problem["type"].endswith("unknown-frontier")
    assert client.get(f"/v1/plans/frontiers/{name}").status_code == 404
    assert client.get(f"/v1/plans/frontiers%2F{name}").status_code == 404
    assert_problem(client.get(f"/v1/frontiers/{plan_name}/graph"), 404)
    for start_id in (f"frontiers/{name}", name):
        body = question().model_dump(mode="json", by_alias=True) | {"start_id": start_id}
        response = client.post("/v1/plans", content=canonical_json(body), headers=WAIT)
        assert_problem(response, 422, "no answer is stored")


def test_frontiers_and_plans_wait_in_one_queue(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    later = WAIT | {"Prefer": "wait=0"}
    for budgets in ((10**6,), (2 * 10**6,), (3 * 10**6,)):
        assert post(client, body_of(frontier_question(budgets)), later).status_code == 202
    refused = client.post("/v1/plans", content=body_of(question()), headers=later)
    assert_problem(refused, 429, "wait already")
    worker.go.set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budgets": 0}, "greater than or equal to 1"),
        ({"budgets": -1}, "greater"),
        ({"budgets": True}, "budgets"),
        ({"budgets": 2.5}, "budgets"),
        ({"budgets": "20"}, "budgets"),
        ({"budgets": 10**9}, "1000"),
        ({"budgets": 101}, "this server allows 100"),
        ({"budgets": []}, "at least 1"),
        ({"budgets": [0]}, "greater"),
        ({"budgets": [10**6, -5]}, "greater"),
        ({"budgets": [2**60]}, "less than"),
        ({"budgets": [10**6, "1MB"]}, "/budgets/1"),
        ({"budgets": list(range(1, 102))}, "this server allows 100"),
        ({"budgets": list(range(1, 1002))}, "1000"),
        ({"budgets": [[1]]}, "budgets"),
        ({"budgets": None}, "budgets"),
        ({"start": {}}, "start"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_budgets_that_are_none(
    client: TestClient, worker: FakeWorker, changes: dict[str, Any], words: str
) -> None:
    response = post(client, changed(**changes))
    problem = assert_problem(response, 422)
    assert words in json.dumps(problem)
    assert worker.surveyed == []


def test_limits_of_the_server_hold_for_frontiers(client: TestClient) -> None:
    request = frontier_question().request
    for change, words in (
        ({"time_limit_seconds": 9999.0}, "this server allows"),
        ({"workers": 99}, "this server allows"),
        ({"batch": 3, "micro_batch": 2}, "divide"),
    ):
        asked = request.model_copy(update=change).model_dump(mode="json", by_alias=True)
        assert_problem(post(client, changed(request=asked)), 422, words)
    assert_problem(post(client, "{", WAIT), 400)
    assert_problem(post(client, b"[" * 150_000, WAIT), 400)
    assert_problem(post(client, b" " * 300_000, WAIT), 413)
    assert_problem(post(client, "x", {"Content-Type": "text/csv"}), 415)


def test_few_are_few() -> None:
    must_be_few(100, Settings())
    with pytest.raises(RequestError, match="allows 100"):
        must_be_few(101, Settings())


def test_a_model_over_a_range_of_budgets(client: TestClient, worker: FakeWorker) -> None:
    response = upload(client, budgets="1MB,2MB", batch="2")
    assert response.status_code == 200
    assert worker.surveyed[0].budgets == (2**20, 2**21)
    assert worker.surveyed[0].request.time_limit_seconds == 120.0
    assert upload(client, time_limit="5", batch="2").status_code == 200
    assert worker.surveyed[1].budgets == 20
    assert worker.surveyed[1].request.time_limit_seconds == 5.0


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"budgets": "lots"}, "lots"),
        ({"budgets": "0"}, "at least 1"),
        ({"budgets": "101"}, "this server allows 100"),
        ({"budgets": ",".join(str(10**6 + n) for n in range(101))}, "this server allows 100"),
        ({"budgets": "1KB," * 9_000}, "more than"),
        ({"budgets": "1" * 41_000}, "40000"),
        ({"budget": "1MB"}, "budget"),
        ({"start_id": "f" * 64}, "start_id"),
        ({"time_limit": "9999"}, "this server allows"),
    ],
)
def test_bad_forms(
    client: TestClient, worker: FakeWorker, fields: dict[str, Any], word: str
) -> None:
    assert_problem(upload(client, **fields), 422, word)
    assert worker.traced == []


def test_a_model_from_a_stored_plan(client: TestClient, worker: FakeWorker) -> None:
    first = upload(client, "/v1/plans", budget="1MB", batch="2")
    name = first.headers["content-location"].rsplit("/", 1)[-1]
    second = upload(client, "/v1/plans", budget="2MB", batch="2", start_id=name)
    assert second.status_code == 200
    start = worker.solved[1].start
    assert start is not None
    assert start.certificate.graph_hash == worker.graph.content_hash()
    assert worker.solved[1].start_id is None
    # Nothing is traced for a start that is not there.
    traced = len(worker.traced)
    for absent in ("f" * 64, "frontiers/x", "", "f" * 101):
        assert_problem(upload(client, "/v1/plans", budget="2MB", start_id=absent), 422, "start_id")
    assert len(worker.traced) == traced


def test_a_model_is_not_started_from_the_plan_of_another(
    client: TestClient, worker: FakeWorker
) -> None:
    first = client.post("/v1/plans", content=body_of(question()), headers=WAIT)
    name = first.headers["content-location"].rsplit("/", 1)[-1]
    worker.graph = worker.graph.model_copy(update={"name": "another"})
    response = upload(client, "/v1/plans", budget="2MB", batch="2", start_id=name)
    assert_problem(response, 422, "another graph")


def test_a_child_surveys_and_reports() -> None:
    asked = FrontierQuestion(
        graph=question().graph,
        request=question().request.model_copy(update={"time_limit_seconds": 2.0}),
        budgets=2,
    )
    reports: list[dict[str, Any]] = []
    text = asyncio.run(ChildWorker(Settings()).frontier(asked, reports.append))
    frontier = Frontier.from_json(text)
    require_frontier(asked.graph, frontier, asked.request, 2)
    assert len(frontier.plans) == 2
    assert {"done", "most", "budget_bytes", "solving"} <= reports[0].keys()
