"""Uploads wait for their turn to be traced: each takes a process, and a model in memory."""

from __future__ import annotations

import asyncio
from typing import Any

from memplan.planner_service.children import Worker
from memplan.planner_service.problems import too_many
from memplan.planner_service.settings import Settings

__all__ = ["Traces"]


class Traces:
    """Traces so many uploads at a time, and lets so many wait."""

    def __init__(self, settings: Settings, worker: Worker) -> None:
        self._worker = worker
        self._slots = asyncio.Semaphore(settings.concurrent_traces)
        self._most = settings.concurrent_traces + settings.max_queued
        self._max_queued = settings.max_queued
        self._present = 0

    async def trace(self, model: bytes, name: str, settings: dict[str, Any]) -> str:
        """Return the graph of a ``.pt2`` file as JSON; arguments as for ``Worker.trace``.

        Raises:
            ProblemError: too many uploads wait, or this one cannot be traced.
        """
        if self._present >= self._most:
            raise too_many(self._max_queued, "uploads")
        self._present += 1
        try:
            async with self._slots:
                return await self._worker.trace(model, name, settings)
        finally:
            self._present -= 1
