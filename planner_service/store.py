"""Where answers and their graphs are kept.  The seam that a larger deployment replaces."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Protocol

__all__ = ["MemoryStore", "PlanStore", "SqliteStore", "open_store"]


class PlanStore(Protocol):
    """Keeps answers, and graphs, by the content hash of their question.

    Answers are canonical JSON of ``ir.answer.Answer``, graphs of ``ir.graph.OpGraph``; a graph
    that many questions ask about should be kept once.  Methods are called from several
    threads; a stored answer never changes.
    """

    def get(self, question_id: str) -> str | None:
        """Return the answer to a question, or None if it was never answered."""
        ...

    def graph(self, question_id: str) -> str | None:
        """Return the graph of a question, or None if it was never answered."""
        ...

    def put(self, question_id: str, answer: str, graph: str) -> None:
        """Keep an answer with the graph of its question; the first one to a question stays."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryStore:
    """Answers in a dictionary; gone when the process ends."""

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}
        self._graphs: dict[str, str] = {}
        self._graph_hashes: dict[str, str] = {}

    def get(self, question_id: str) -> str | None:
        return self._answers.get(question_id)

    def graph(self, question_id: str) -> str | None:
        return self._graphs.get(self._graph_hashes.get(question_id, ""))

    def put(self, question_id: str, answer: str, graph: str) -> None:
        name = _hash(graph)
        self._graphs.setdefault(name, graph)
        self._graph_hashes.setdefault(question_id, name)
        self._answers.setdefault(question_id, answer)

    def close(self) -> None:
        self._answers.clear()
        self._graph_hashes.clear()
        self._graphs.clear()


class SqliteStore:
    """Answers in one SQLite file, which several servers of one machine may share."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
        with self._lock, self._connection:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers ("
                "question_id TEXT PRIMARY KEY, answer TEXT NOT NULL, "
                "stored_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            )
            # Tables of their own: files of servers that kept answers only stay readable.
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS graphs (hash TEXT PRIMARY KEY, graph TEXT NOT NULL)"
            )
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS questions ("
                "question_id TEXT PRIMARY KEY, graph_hash TEXT NOT NULL)"
            )

    def get(self, question_id: str) -> str | None:
        return self._text("SELECT answer FROM answers WHERE question_id = ?", question_id)

    def graph(self, question_id: str) -> str | None:
        return self._text(
            "SELECT graph FROM questions JOIN graphs ON hash = graph_hash WHERE question_id = ?",
            question_id,
        )

    def put(self, question_id: str, answer: str, graph: str) -> None:
        name = _hash(graph)
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO graphs (hash, graph) VALUES (?, ?)", (name, graph)
            )
            self._connection.execute(
                "INSERT OR IGNORE INTO questions (question_id, graph_hash) VALUES (?, ?)",
                (question_id, name),
            )
            self._connection.execute(
                "INSERT OR IGNORE INTO answers (question_id, answer) VALUES (?, ?)",
                (question_id, answer),
            )

    def _text(self, query: str, question_id: str) -> str | None:
        with self._lock:
            row = self._connection.execute(query, (question_id,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def open_store(path: Path | None) -> PlanStore:
    """Return the store of a server: a SQLite file, or memory without a path."""
    return MemoryStore() if path is None else SqliteStore(path)


def _hash(graph: str) -> str:
    return hashlib.sha256(graph.encode()).hexdigest()
