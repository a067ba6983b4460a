from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from memplan.planner_service.store import MemoryStore, PlanStore, SqliteStore, open_store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PlanStore:
    return open_store(tmp_path / "answers.sqlite" if request.param == "sqlite" else None)


def test_keeps_the_first_answer(store: PlanStore) -> None:
    assert store.get("a") is None
    assert store.graph("a") is None
    store.put("a", "first", "graph")
    store.put("a", "second", "other graph")
    store.put("b", "third", "graph")
    assert store.get("a") == "first"
    assert store.graph("a") == store.graph("b") == "graph"
    store.close()


def test_many_threads(store: PlanStore) -> None:
    def write(number: int) -> None:
        for index in range(20):
            store.put(f"{number}.{index}", "x" * 1000, f"graph {index}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(f"{n}.{i}") == "x" * 1000 for n in range(4) for i in range(20))
    assert all(store.graph(f"{n}.{i}") == f"graph {i}" for n in range(4) for i in range(20))
    store.close()


def test_a_file_of_answers_alone_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "CREATE TABLE answers (question_id TEXT PRIMARY KEY, answer TEXT NOT NULL, "
            "stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )
        old.execute("INSERT INTO answers (question_id, answer) VALUES ('a', 'answer')")
    store = SqliteStore(path)
    assert (store.get("a"), store.graph("a")) == ("answer", None)
    store.close()


def test_many_questions_keep_one_graph(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "answers.sqlite")
    for number in range(5):
        store.put(str(number), "answer", "graph")
    store.close()
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as file:
        assert file.execute("SELECT graph FROM graphs").fetchall() == [("graph",)]


def test_the_kind_follows_the_path(tmp_path: Path) -> None:
    assert isinstance(open_store(None), MemoryStore)
    durable = open_store(tmp_path / "answers.sqlite")
    assert isinstance(durable, SqliteStore)
    durable.put("a", "answer", "graph")
    durable.close()
    reopened = SqliteStore(tmp_path / "answers.sqlite")
    assert reopened.get("a") == "answer"
    assert reopened.graph("a") == "graph"
    reopened.close()
