from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from memplan.clients.http import PlannerClient, ServiceError
from memplan.ir.check import check
from memplan.ir.errors import (
    GraphError,
    MemplanError,
    MissingExtraError,
    ModelError,
    PlanRejectedError,
    RequestError,
)
from memplan.planner_service.app import create_app
from memplan.planner_service.problems import ProblemError
from memplan.planner_service.question import question_id
from tests.support.answers import found, naive_frontier
from tests.support.service import FakeWorker, frontier_question, question


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def client(worker: FakeWorker) -> Iterator[PlannerClient]:
    with TestClient(create_app(worker=worker)) as http:
        yield PlannerClient("http://testserver/", http)


def test_plan(client: PlannerClient) -> None:
    asked = question()
    answer = client.plan(asked.graph, asked.request, wait=10)
    assert answer.plan is not None
    assert check(asked.graph, answer.plan).accepted


def test_what_a_server_claims_is_checked_here(
    client: PlannerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = question()
    honest = found(asked.graph, asked.request)
    assert honest.plan is not None
    certificate = honest.plan.certificate
    for certificate_changes, answer_changes, fault in (
        ({}, {"status": "optimal"}, "the answer is optimal, its plan feasible"),
        ({"status": "optimal"}, {"status": "optimal"}, "does not meet its bound"),
        ({"lower_bound_bytes": 2**30}, {"lower_bound_bytes": 2**30}, "bytes are said to be needed"),
    ):
        plan = honest.plan.model_copy(
            update={"certificate": certificate.model_copy(update=certificate_changes)}
        )
        answer = honest.model_copy(update={"plan": plan, **answer_changes})
        response = httpx2.Response(200, content=answer.to_json())
        monkeypatch.setattr(client._http, "request", lambda *_, r=response, **__: r)
        with pytest.raises(PlanRejectedError, match=fault):
            client.plan(asked.graph, asked.request)


def test_the_graph_of_a_plan(client: PlannerClient) -> None:
    asked = question()
    client.plan(asked.graph, asked.request, wait=10)
    assert client.graph(question_id(asked)) == asked.graph
    with pytest.raises(ServiceError, match="no question has the id absent") as failure:
        client.graph("absent")
    assert failure.value.status == 404
    with pytest.raises(RequestError, match="no id of a plan"):
        client.graph("../healthz")


def test_giving_up_leaves_the_server_at_work(client: PlannerClient, worker: FakeWorker) -> None:
    asked = question()
    worker.go.clear()
    with pytest.raises(ServiceError, match="no answer within 0 s") as failure:
        client.plan(asked.graph, asked.request, wait=0)
    assert failure.value.status == 202
    worker.go.set()
    assert client.plan(asked.graph, asked.request, wait=10).plan is not None
    assert len(worker.solved) == 1


def test_problems_become_errors(client: PlannerClient, worker: FakeWorker) -> None:
    asked = question()
    longer = asked.request.model_copy(update={"time_limit_seconds": 3600.0})
    with pytest.raises(RequestError, match="this server allows"):
        client.plan(asked.graph, longer, wait=5)
    worker.failure = ProblemError(500, "child-ended", "perhaps out of memory")
    with pytest.raises(ServiceError, match="perhaps out of memory") as failure:
        client.plan(asked.graph, asked.request, wait=5)
    assert failure.value.status == 500
    assert failure.value.problem["type"].endswith("child-ended")


def test_health(client: PlannerClient) -> None:
    assert client.health()["status"] == "ok"


def test_nobody_there() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("connection refused")

    http = httpx2.Client(transport=httpx2.MockTransport(refuse))
    with http, pytest.raises(ServiceError, match="is plan serve running there"):
        PlannerClient("http://127.0.0.1:1", http).health()


def test_something_else_there() -> None:
    http = httpx2.Client(
        transport=httpx2.MockTransport(lambda request: httpx2.Response(502, text="<html>"))
    )
    with http, pytest.raises(ServiceError, match="502"):
        PlannerClient("http://127.0.0.1:1", http).health()


def scripted(*responses: httpx2.Response) -> tuple[PlannerClient, list[httpx2.Request]]:
    """Return a client of a server that gives these responses in turn."""
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return responses[len(asked) - 1]

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return PlannerClient("http://127.0.0.1:1/below", http), asked


ACCEPTED = httpx2.Response(202, headers={"Location": "/elsewhere/v1/plans/abc"})
ANSWER = httpx2.Response(200, text=found(question().graph, question().request).to_json())
BUSY = {"Retry-After": "0"}


def test_a_busy_server_is_asked_again() -> None:
    client, asked = scripted(
        httpx2.Response(429, headers=BUSY), httpx2.Response(503, headers=BUSY), ANSWER
    )
    assert client.plan(question().graph, question().request).plan is not None
    assert [request.method for request in asked] == ["POST"] * 3


def test_a_busy_server_is_not_waited_for_beyond_the_deadline() -> None:
    client, asked = scripted(httpx2.Response(429, headers={"Retry-After": "9"}))
    with pytest.raises(ServiceError, match="429") as failure:
        client.plan(question().graph, question().request, wait=5)
    assert failure.value.retry_after == 9
    assert len(asked) == 1


def test_a_restarted_server_is_asked_anew() -> None:
    client, asked = scripted(ACCEPTED, httpx2.Response(404), ANSWER)
    assert client.plan(question().graph, question().request).plan is not None
    assert [(request.method, request.url.path) for request in asked] == [
        ("POST", "/below/v1/plans"),
        ("GET", "/below/v1/plans/abc"),
        ("POST", "/below/v1/plans"),
    ]


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (422, "invalid-question", RequestError),
        (422, "invalid-graph", GraphError),
        (422, "bad-model", ModelError),
        (501, "not-installed", MissingExtraError),
        (413, "body-too-large", ServiceError),
        (500, "out-of-time", ServiceError),
    ],
)
def test_kinds_of_problems(status: int, kind: str, error: type[MemplanError]) -> None:
    problem = {"type": f"urn:memplan:problem:{kind}", "detail": "this is why"}
    client, _ = scripted(httpx2.Response(status, json=problem))
    with pytest.raises(error, match="this is why"):
        client.plan(question().graph, question().request)


@pytest.mark.parametrize(
    "response",
    [httpx2.Response(200, text="<html>"), httpx2.Response(200, json=[]), httpx2.Response(301)],
)
def test_a_stranger_is_named(response: httpx2.Response) -> None:
    client, _ = scripted(response)
    with pytest.raises(ServiceError, match="no planner service"):
        client.health()


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "", "ftp://host"])
def test_addresses_without_a_scheme(address: str) -> None:
    with pytest.raises(RequestError, match="write http://HOST:PORT"):
        PlannerClient(address)


def test_addresses_that_cannot_be() -> None:
    with PlannerClient("http://[bad") as client, pytest.raises(ServiceError, match="bad"):
        client.health()


def test_a_plan_to_go_on_from(client: PlannerClient, worker: FakeWorker) -> None:
    asked = question()
    first = client.plan(asked.graph, asked.request, wait=10)
    less = asked.request.model_copy(update={"budget_bytes": 900_000})
    second = client.plan(asked.graph, less, wait=10, start=first.plan)
    assert second.plan is not None
    assert worker.solved[1].start == first.plan
    worker.failure = ProblemError(422, "invalid-request", "start: plan for chain rejected")
    with pytest.raises(RequestError, match="rejected"):
        client.plan(asked.graph, asked.request, wait=10, start=second.plan)


def test_a_frontier(client: PlannerClient, worker: FakeWorker) -> None:
    asked = frontier_question()
    frontier = client.frontier(asked.graph, asked.request, (10**6, 2 * 10**6), wait=10)
    assert [point.budget_bytes for point in frontier.points] == [10**6, 2 * 10**6]
    assert client.graph(question_id(asked), "frontiers") == asked.graph
    assert len(client.frontier(asked.graph, asked.request, 3, wait=10).points) == 3
    assert worker.surveyed[1].budgets == 3
    with pytest.raises(RequestError, match="greater than"):
        client.frontier(asked.graph, asked.request, 0, wait=10)


def test_a_frontier_that_was_not_asked_for_is_rejected(
    client: PlannerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = frontier_question()
    honest = naive_frontier(asked.graph, asked.request, (10**6, 2 * 10**6))
    first, second = honest.points
    assert first.answer.plan is not None
    slower = first.answer.plan.totals.model_copy(update={"time_ns": 1})
    lying = first.answer.model_copy(
        update={"plan": first.answer.plan.model_copy(update={"totals": slower})}
    )
    other = naive_frontier(asked.graph.model_copy(update={"name": "b"}), asked.request, 2)
    for frontier, fault in (
        (honest.model_copy(update={"points": (first,)}), "other budgets"),
        (naive_frontier(asked.graph, asked.request, (1, 2)), "other budgets"),
        (
            honest.model_copy(
                update={"points": (first.model_copy(update={"answer": lying}), second)}
            ),
            "worse plan",
        ),
        (other, "another graph"),
    ):
        response = httpx2.Response(200, content=frontier.to_json())
        monkeypatch.setattr(client._http, "request", lambda *_, r=response, **__: r)
        budgets = 2 if frontier is other else (10**6, 2 * 10**6)
        with pytest.raises(PlanRejectedError, match=fault):
            client.frontier(asked.graph, asked.request, budgets)
