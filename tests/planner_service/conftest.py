"""A service with a fake worker, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from memplan.planner_service.app import create_app
from memplan.planner_service.settings import Settings
from tests.support.service import FakeWorker


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=200_000, max_queued=2, max_wait_seconds=5)


@pytest.fixture
def client(worker: FakeWorker, settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings, worker=worker)) as client:
        yield client
