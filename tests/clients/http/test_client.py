from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from starlette.testclient import TestClient

from memplan.clients.http import PlannerClient, ServiceError
from memplan.ir.check import check
from memplan.ir.errors import RequestError
from memplan.planner_service.app import create_app
from memplan.planner_service.problems import ProblemError
from tests.support.service import FakeWorker, question


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
