from __future__ import annotations

import threading
from pathlib import Path

import pytest

from memplan.planner_service.store import MemoryStore, PlanStore, SqliteStore, open_store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PlanStore:
    return open_store(tmp_path / "answers.sqlite" if request.param == "sqlite" else None)


def test_keeps_the_first_answer(store: PlanStore) -> None:
    assert store.get("a") is None
    store.put("a", "first")
    store.put("a", "second")
    assert store.get("a") == "first"
    store.close()


def test_many_threads(store: PlanStore) -> None:
    def write(number: int) -> None:
        for index in range(20):
            store.put(f"{number}.{index}", "x" * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(f"{n}.{i}") == "x" * 1000 for n in range(4) for i in range(20))
    store.close()


def test_the_kind_follows_the_path(tmp_path: Path) -> None:
    assert isinstance(open_store(None), MemoryStore)
    durable = open_store(tmp_path / "answers.sqlite")
    assert isinstance(durable, SqliteStore)
    durable.put("a", "answer")
    durable.close()
    reopened = SqliteStore(tmp_path / "answers.sqlite")
    assert reopened.get("a") == "answer"
    reopened.close()
