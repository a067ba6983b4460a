"""Jobs: each question is worked on once, however often and by however many it is asked."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from memplan.planner_service.children import Worker
from memplan.planner_service.problems import ProblemError, too_many
from memplan.planner_service.question import (
    Asked,
    FrontierQuestion,
    key_of,
    kind_of,
    question_id,
)
from memplan.planner_service.settings import Settings
from memplan.planner_service.store import PlanStore

__all__ = ["Job", "Jobs"]

_LOG = logging.getLogger("memplan.service")
#: Failed questions whose reason is remembered for those who poll.
_REMEMBERED_FAILURES = 1000


@dataclass(slots=True)
class Job:
    """A question that is being worked on."""

    status: Literal["queued", "running"]
    question: Asked
    task: asyncio.Task[None]
    progress: dict[str, Any] | None = None


class Jobs:
    """Runs questions and keeps their answers."""

    def __init__(self, settings: Settings, store: PlanStore, worker: Worker) -> None:
        self._settings = settings
        self._store = store
        self._worker = worker
        self._slots = asyncio.Semaphore(settings.concurrent_solves)
        self._jobs: dict[str, Job] = {}
        self._failures: OrderedDict[str, ProblemError] = OrderedDict()

    async def submit(self, question: Asked) -> str:
        """Return the id of a question, which is stored, or being worked on, from now on.

        Everything else here is asked by its key (``key_of``).

        Raises:
            ProblemError: too many questions wait.
        """
        name = await asyncio.to_thread(question_id, question)
        key = key_of(kind_of(question), name)
        if key in self._jobs or await self.answer(key) is not None or key in self._jobs:
            return name
        self.must_have_room()
        self._failures.pop(key, None)
        self._jobs[key] = Job("queued", question, asyncio.create_task(self._work(key, question)))
        return name

    def must_have_room(self) -> None:
        """Raise ProblemError where as many questions wait as may wait."""
        if sum(job.status == "queued" for job in self._jobs.values()) >= self._settings.max_queued:
            raise too_many(self._settings.max_queued, "questions")

    async def answer(self, key: str) -> str | None:
        """Return the answer of this key if it is stored."""
        return await asyncio.to_thread(self._store.get, key)

    async def graph(self, key: str) -> str | None:
        """Return the graph of a question that is being worked on or answered, as JSON."""
        job = self._jobs.get(key)
        if job is not None:
            return await asyncio.to_thread(job.question.graph.to_json)
        return await asyncio.to_thread(self._store.graph, key)

    def job(self, key: str) -> Job | None:
        """Return the job of this key if it is being worked on."""
        return self._jobs.get(key)

    def failure(self, key: str) -> ProblemError | None:
        """Return why the question of this key got no answer, if that is remembered."""
        return self._failures.get(key)

    async def wait(self, key: str, seconds: float) -> None:
        """Return when the job of this key has ended, or after ``seconds``."""
        job = self._jobs.get(key)
        if job is not None and seconds > 0:
            await asyncio.wait({job.task}, timeout=seconds)

    async def close(self) -> None:
        """End all jobs and their child processes."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, key: str, question: Asked) -> None:
        try:
            async with self._slots:
                job = self._jobs[key]
                job.status = "running"

                def report(progress: dict[str, Any]) -> None:
                    job.progress = progress

                if isinstance(question, FrontierQuestion):
                    answer = await self._worker.frontier(question, report)
                else:
                    answer = await self._worker.solve(question, report)
            await asyncio.to_thread(self._keep, key, answer, question)
        except ProblemError as failure:
            _LOG.warning("question %s got no answer: %s", key, failure.detail)
            self._remember(key, failure)
        except Exception:
            _LOG.exception("question %s failed", key)
            self._remember(
                key, ProblemError(500, "internal", "the server failed; its log says why")
            )
        finally:
            del self._jobs[key]

    def _keep(self, key: str, answer: str, question: Asked) -> None:
        self._store.put(key, answer, question.graph.to_json())

    def _remember(self, key: str, failure: ProblemError) -> None:
        self._failures[key] = failure
        while len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)
