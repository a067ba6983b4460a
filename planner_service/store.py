"""Where answers are kept.  The seam that a larger deployment replaces."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Protocol

__all__ = ["MemoryStore", "PlanStore", "SqliteStore", "open_store"]


class PlanStore(Protocol):
    """Keeps answers by the content hash of their question.

    Answers are canonical JSON of ``ir.answer.Answer``.  Methods are called from several
    threads; a stored answer never changes.
    """

    def get(self, question_id: str) -> str | None:
        """Return the answer to a question, or None if it was never answered."""
        ...

    def put(self, question_id: str, answer: str) -> None:
        """Keep an answer; the first one to a question stays."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryStore:
    """Answers in a dictionary; gone when the process ends."""

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}

    def get(self, question_id: str) -> str | None:
        return self._answers.get(question_id)

    def put(self, question_id: str, answer: str) -> None:
        self._answers.setdefault(question_id, answer)

    def close(self) -> None:
        self._answers.clear()


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

    def get(self, question_id: str) -> str | None:
        with self._lock:
            row = self._connection.execute(
                "SELECT answer FROM answers WHERE question_id = ?", (question_id,)
            ).fetchone()
        return None if row is None else str(row[0])

    def put(self, question_id: str, answer: str) -> None:
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO answers (question_id, answer) VALUES (?, ?)",
                (question_id, answer),
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def open_store(path: Path | None) -> PlanStore:
    """Return the store of a server: a SQLite file, or memory without a path."""
    return MemoryStore() if path is None else SqliteStore(path)
