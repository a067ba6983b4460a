"""Jobs: each question is worked on once, however often and by however many it is asked."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal

from memplan.planner_service.children import Worker
from memplan.planner_service.problems import ProblemError, too_many
from memplan.planner_service.question import Question, question_id
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
    question: Question
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

    async def submit(self, question: Question) -> str:
        """Return the id of a question, which is stored, or being worked on, from now on.

        Raises:
            ProblemError: too many questions wait.
        """
        name = await asyncio.to_thread(question_id, question)
        if name in self._jobs or await self.answer(name) is not None or name in self._jobs:
            return name
        self.must_have_room()
        self._failures.pop(name, None)
        self._jobs[name] = Job("queued", question, asyncio.create_task(self._work(name, question)))
        return name

    def must_have_room(self) -> None:
        """Raise ProblemError where as many questions wait as may wait."""
        if sum(job.status == "queued" for job in self._jobs.values()) >= self._settings.max_queued:
            raise too_many(self._settings.max_queued, "questions")

    async def answer(self, name: str) -> str | None:
        """Return the answer of this id if it is stored."""
        return await asyncio.to_thread(self._store.get, name)

    async def graph(self, name: str) -> str | None:
        """Return the graph of a question that is being worked on or answered, as JSON."""
        job = self._jobs.get(name)
        if job is not None:
            return await asyncio.to_thread(job.question.graph.to_json)
        return await asyncio.to_thread(self._store.graph, name)

    def job(self, name: str) -> Job | None:
        """Return the job of this id if it is being worked on."""
        return self._jobs.get(name)

    def failure(self, name: str) -> ProblemError | None:
        """Return why the question of this id got no answer, if that is remembered."""
        return self._failures.get(name)

    async def wait(self, name: str, seconds: float) -> None:
        """Return when the job of this id has ended, or after ``seconds``."""
        job = self._jobs.get(name)
        if job is not None and seconds > 0:
            await asyncio.wait({job.task}, timeout=seconds)

    async def close(self) -> None:
        """End all jobs and their child processes."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, name: str, question: Question) -> None:
        try:
            async with self._slots:
                job = self._jobs[name]
                job.status = "running"

                def report(progress: dict[str, Any]) -> None:
                    job.progress = progress

                answer = await self._worker.solve(question, report)
            await asyncio.to_thread(self._keep, name, answer, question)
        except ProblemError as failure:
            _LOG.warning("question %s got no answer: %s", name, failure.detail)
            self._remember(name, failure)
        except Exception:
            _LOG.exception("question %s failed", name)
            self._remember(
                name, ProblemError(500, "internal", "the server failed; its log says why")
            )
        finally:
            del self._jobs[name]

    def _keep(self, name: str, answer: str, question: Question) -> None:
        self._store.put(name, answer, question.graph.to_json())

    def _remember(self, name: str, failure: ProblemError) -> None:
        self._failures[name] = failure
        while len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)
