from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from memplan.ir.answer import Answer
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.planner_service.app import _while_serving, create_app
from memplan.planner_service.problems import ProblemError
from memplan.planner_service.question import Question
from memplan.planner_service.settings import Settings
from tests.support.service import FakeWorker, body_of, question

JSON = {"Content-Type": "application/json"}
WAIT = JSON | {"Prefer": "wait=5"}


def post(client: TestClient, body: str | bytes, headers: dict[str, str] | None = None) -> Any:
    return client.post("/v1/plans", content=body, headers=JSON if headers is None else headers)


def assert_problem(response: Any, status: int, *words: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:memplan:problem:")
    assert problem["title"]
    for word in words:
        assert word in problem["detail"]
    return problem


def test_an_answer_within_the_wait(client: TestClient) -> None:
    asked = question()
    response = post(client, body_of(asked), WAIT)
    assert response.status_code == 200
    answer = Answer.from_json(response.content)
    assert answer.plan is not None
    assert check(asked.graph, answer.plan).accepted
    again = client.get(response.headers["content-location"])
    assert again.content == response.content


def test_later_answers_are_polled(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    response = post(client, body_of(question()))
    assert response.status_code == 202
    location = response.headers["location"]
    status = client.get(location, headers={"Prefer": "wait=0"})
    assert status.status_code == 202
    assert status.json()["status"] == "running"
    assert status.json()["progress"] == {"stage": "thinking"}
    assert client.get("/healthz").json()["status"] == "ok"
    worker.go.set()
    assert client.get(location, headers={"Prefer": "wait=5"}).status_code == 200


def test_the_graph_is_there_before_and_with_the_answer(
    client: TestClient, worker: FakeWorker
) -> None:
    asked = question()
    worker.go.clear()
    status = post(client, body_of(asked))
    place = status.json()["graph_location"]
    assert status.headers["link"] == f'<{place}>; rel="related"; title="graph"'
    assert OpGraph.from_json(client.get(place).content) == asked.graph
    worker.go.set()
    answered = post(client, body_of(asked), WAIT)
    assert answered.headers["link"] == status.headers["link"]
    graph = OpGraph.from_json(client.get(place).content)
    plan = Answer.from_json(answered.content).plan
    assert plan is not None
    assert plan.certificate.graph_hash == graph.content_hash()
    assert check(graph, plan).accepted


def test_graphs_that_are_not_there(client: TestClient, worker: FakeWorker) -> None:
    assert_problem(client.get("/v1/plans/absent/graph"), 404, "absent", "/v1/plans")
    worker.failure = ProblemError(500, "child-ended", "perhaps out of memory")
    post(client, body_of(question()), WAIT)
    place = post(client, body_of(question())).json()["graph_location"]
    client.get(place.removesuffix("/graph"), headers={"Prefer": "wait=5"})
    assert_problem(client.get(place), 500, "perhaps out of memory")


def test_the_same_question_is_worked_on_once(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    locations = {post(client, body_of(question())).headers["location"] for _ in range(3)}
    assert len(locations) == 1
    worker.go.set()
    assert post(client, body_of(question()), WAIT).status_code == 200
    assert post(client, body_of(question())).status_code == 200  # stored: no wait is needed
    assert len(worker.solved) == 1


def test_other_questions_have_other_ids(client: TestClient) -> None:
    first = post(client, body_of(question(10**6)), WAIT).headers["content-location"]
    second = post(client, body_of(question(10**6 + 1)), WAIT).headers["content-location"]
    assert first != second


def test_one_at_a_time_and_no_endless_queue(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    statuses = [post(client, body_of(question(10**6 + n))).status_code for n in range(3)]
    assert statuses == [202, 202, 202]
    refused = post(client, body_of(question(10**6 + 3)))
    assert_problem(refused, 429, "wait already")
    assert refused.headers["retry-after"]
    worker.go.set()
    assert post(client, body_of(question(10**6 + 2)), WAIT).status_code == 200
    assert worker.most_running == 1


def test_a_failed_question_says_why_and_may_be_asked_again(
    client: TestClient, worker: FakeWorker
) -> None:
    worker.failure = ProblemError(500, "child-ended", "perhaps out of memory")
    failed = post(client, body_of(question()), WAIT)
    assert_problem(failed, 500, "perhaps out of memory")
    worker.failure = None
    assert post(client, body_of(question()), WAIT).status_code == 200


def test_a_fault_of_the_server_tells_nothing_private(
    client: TestClient, worker: FakeWorker
) -> None:
    worker.failure = KeyError("secret")
    problem = assert_problem(post(client, body_of(question()), WAIT), 500)
    assert "secret" not in json.dumps(problem)


def mutated(change: dict[str, Any]) -> str:
    body = json.loads(body_of(question()))
    body["request"].update(change)
    return json.dumps(body)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"budget_bytes": "12"}, "/request/budget_bytes"),
        ({"budget_bytes": -1}, "/request/budget_bytes"),
        ({"budget_bytes": 10**30}, "/request/budget_bytes"),
        ({"batch": 1.5}, "/request/batch"),
        ({"surprise": 1}, "/request/surprise"),
        ({"time_limit_seconds": float("nan")}, "/request/time_limit_seconds"),
        ({"time_limit_seconds": float("inf")}, "/request/time_limit_seconds"),
    ],
)
def test_bad_fields_are_pointed_at(
    client: TestClient, change: dict[str, Any], pointer: str
) -> None:
    problem = assert_problem(post(client, mutated(change)), 422)
    assert pointer in [error["pointer"] for error in problem["errors"]]


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"micro_batch": -1}, "/request/micro_batch", "Input should be 'auto'; or Input should be"),
        ({"update": [{"layer": "a", "weight": "x"}]}, "/request/update/0/weight", "'whole'; or"),
    ],
)
def test_pointers_lead_into_the_body(
    client: TestClient, change: dict[str, Any], pointer: str, message: str
) -> None:
    problem = assert_problem(post(client, mutated(change)), 422, pointer)
    assert message in {error["pointer"]: error["detail"] for error in problem["errors"]}[pointer]


def test_a_bad_request_is_refused_before_the_graph_is_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Question, "model_validate_json", lambda body: pytest.fail("it was read"))
    assert_problem(post(client, mutated({"budget_bytes": -1})), 422, "/request/budget_bytes")
    assert_problem(post(client, mutated({"workers": 100})), 422, "workers")


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    refused = post(client, b"x", JSON | {"Content-Encoding": "gzip"})
    assert_problem(refused, 415, "gzip")


def test_a_claim_of_a_billion_channels_is_refused(client: TestClient) -> None:
    body = json.loads(body_of(question()))
    body["graph"]["layers"][0]["axes"] = [{"name": "input", "channels": 10**9}]
    assert_problem(post(client, json.dumps(body)), 422, "channels")


def test_who_waits_when_the_server_ends_is_told() -> None:
    async def stopped() -> None:
        waiting = asyncio.create_task(_while_serving(asyncio.sleep(60, Response())))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting

    with pytest.raises(ProblemError) as failure:
        asyncio.run(stopped())
    assert failure.value.status == 503
    assert failure.value.headers["Retry-After"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"update": [{"layer": "nope", "bias": True}]}, "nope"),
        ({"time_limit_seconds": 3600.0}, "time_limit_seconds"),
        ({"workers": 100}, "workers"),
    ],
)
def test_questions_without_an_answer_here(
    client: TestClient, worker: FakeWorker, change: dict[str, Any], word: str
) -> None:
    assert_problem(post(client, mutated(change)), 422, word)
    assert worker.solved == []


@pytest.mark.parametrize("body", ["", "{", "[1, 2", "\xff\xfe", '{"graph": ' * 50_000])
def test_what_is_no_json(client: TestClient, body: str) -> None:
    response = post(client, body.encode("latin-1"))
    assert response.status_code in (400, 413)
    assert_problem(response, response.status_code)


def test_graphs_that_break_the_contract(client: TestClient) -> None:
    body = json.loads(body_of(question()))
    body["graph"]["tensors"][0]["size_bytes"] = -4
    assert_problem(post(client, json.dumps(body)), 422, "graph")


def test_large_bodies_are_refused_whether_declared_or_chunked(client: TestClient) -> None:
    large = b" " * 200_001
    assert_problem(post(client, large), 413, "200000 bytes")

    def chunks() -> Any:
        for _ in range(5):
            yield b" " * 50_000

    assert_problem(client.post("/v1/plans", content=chunks(), headers=JSON), 413, "200000 bytes")


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"],
)
def test_other_media_types(client: TestClient, media_type: str) -> None:
    response = post(client, b"\x80\x04", {"Content-Type": media_type})
    assert_problem(response, 415, "plan trace")


def test_unknown_paths_methods_and_ids(client: TestClient) -> None:
    assert_problem(client.get("/"), 404, "/v1/plans")
    assert_problem(client.get("/v1/plans/abc"), 404, "abc")
    response = client.delete("/v1/plans")
    assert_problem(response, 405)
    assert response.headers["allow"] == "POST"


def test_openapi_is_complete(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= schemas.keys()
    assert {"OpGraph", "PlanRequest", "Answer", "Plan", "Problem", "JobStatus"} <= referred
    post_operation = document["paths"]["/v1/plans"]["post"]
    assert set(post_operation["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
    }
    assert {"200", "202", "413", "415", "422"} <= post_operation["responses"].keys()
    assert "HTTPValidationError" not in schemas
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"] and operation["description"]
            for status, response in operation["responses"].items():
                assert response["description"]
                assert int(status) < 400 or "application/problem+json" in response["content"]


def test_the_example_of_openapi_is_a_question(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/plans"]["post"]["requestBody"]["content"]
    example = body["application/json"]["example"]
    response = post(client, json.dumps(example), WAIT)
    assert response.status_code == 200
    answer = Answer.from_json(response.content)
    assert answer.plan is not None
    assert check(OpGraph.model_validate_json(json.dumps(example["graph"])), answer.plan).accepted


def test_answers_outlive_the_server_in_a_file(tmp_path: Any, worker: FakeWorker) -> None:
    settings = Settings(store_path=tmp_path / "answers.sqlite")
    for _ in range(2):
        with TestClient(create_app(settings, worker=worker)) as client:
            response = post(client, body_of(question()), WAIT)
            assert response.status_code == 200
            graph = client.get(response.headers["content-location"] + "/graph")
            assert OpGraph.from_json(graph.content) == question().graph
    assert len(worker.solved) == 1


def test_the_end_of_the_server_ends_its_jobs(worker: FakeWorker, settings: Settings) -> None:
    worker.go.clear()
    with TestClient(create_app(settings, worker=worker)) as client:
        post(client, body_of(question()))
        assert worker.running == 1
    assert worker.running == 0
