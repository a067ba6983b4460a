"""A worker that answers when it is told to, and questions for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from memplan.ir.base import canonical_json
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.planner_service.problems import ProblemError
from memplan.planner_service.question import FrontierQuestion, Question
from tests.support.answers import found, naive_frontier
from tests.support.hand_graphs import chain

__all__ = ["FakeWorker", "body_of", "frontier_question", "question"]


def question(budget_bytes: int = 10**6) -> Question:
    """Return a question that the naive planner can answer."""
    return Question(graph=chain(), request=PlanRequest(budget_bytes=budget_bytes, batch=2))


def frontier_question(budgets: int | tuple[int, ...] = (10**6, 2 * 10**6)) -> FrontierQuestion:
    """Return a question about several budgets that the naive planner can answer."""
    asked = question(1)
    return FrontierQuestion(graph=asked.graph, request=asked.request, budgets=budgets)


def body_of(asked: Question | FrontierQuestion) -> str:
    """Return a question as a client sends it."""
    return canonical_json(asked.model_dump(mode="json", by_alias=True))


class FakeWorker:
    """Solves by the naive planner, in the server's own process.

    Clear ``go`` to keep questions waiting; set ``failure`` to fail.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.failure: Exception | None = None
        self.solved: list[Question] = []
        self.surveyed: list[FrontierQuestion] = []
        self.running = 0
        self.most_running = 0
        self.traced: list[dict[str, Any]] = []
        self.names: list[str] = []
        self.graph: OpGraph = chain()

    async def solve(self, question: Question, report: Callable[[dict[str, Any]], None]) -> str:
        self.solved.append(question)
        await self._wait(report)
        return found(question.graph, question.request).to_json()

    async def frontier(
        self, question: FrontierQuestion, report: Callable[[dict[str, Any]], None]
    ) -> str:
        self.surveyed.append(question)
        await self._wait(report)
        return naive_frontier(question.graph, question.request, question.budgets).to_json()

    async def _wait(self, report: Callable[[dict[str, Any]], None]) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        report({"stage": "thinking"})
        try:
            while not self.go.is_set():
                await asyncio.sleep(0.005)
        finally:
            self.running -= 1
        if self.failure is not None:
            raise self.failure

    async def trace(self, model: bytes, name: str, settings: dict[str, Any]) -> str:
        self.traced.append(settings)
        self.names.append(name)
        if isinstance(self.failure, ProblemError):
            raise self.failure
        return self.graph.to_json()
