"""Starts child processes and reads what they say."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Protocol

from memplan.planner_service.problems import ProblemError
from memplan.planner_service.question import FrontierQuestion, Question
from memplan.planner_service.settings import Settings

__all__ = ["ChildWorker", "ProgressReport", "Worker"]

ProgressReport = Callable[[dict[str, Any]], None]

_STATUS = {
    "invalid-request": 422,
    "invalid-graph": 422,
    "bad-model": 422,
    "bad-data": 422,
    "not-installed": 501,
    "internal": 500,
}
#: Longest line that a child may write: an answer with its plan.
_MAX_LINE_BYTES = 256 * 2**20


class Worker(Protocol):
    """Does what takes long, outside the server's process."""

    async def solve(self, question: Question, report: ProgressReport) -> str:
        """Return the answer to a question as JSON.

        Raises:
            ProblemError: the question has no answer, or the child failed.
        """
        ...

    async def frontier(self, question: FrontierQuestion, report: ProgressReport) -> str:
        """Return the frontier of a question as JSON; errors as ``solve``."""
        ...

    async def trace(self, model: bytes, name: str, settings: dict[str, Any]) -> str:
        """Return the graph of a ``.pt2`` file as JSON.

        Args:
            model: content of the file.
            name: of the file, for the graph and for messages.
            settings: fields of ``tracing.TraceSettings``.

        Raises:
            ProblemError: the file cannot be traced, or the child failed.
        """
        ...


class ChildWorker:
    """One process per task, so that a task can be ended and can hurt nobody else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def solve(self, question: Question, report: ProgressReport) -> str:
        seconds = question.request.time_limit_seconds + self._settings.grace_seconds
        payload = question.model_dump_json(by_alias=True).encode()
        message = await self._run({"task": "solve"}, payload, seconds, report)
        return str(message["answer"])

    async def frontier(self, question: FrontierQuestion, report: ProgressReport) -> str:
        grace = self._settings.grace_seconds
        grace += self._settings.grace_seconds_per_budget * (question.count - 1)
        payload = question.model_dump_json(by_alias=True).encode()
        seconds = question.request.time_limit_seconds + grace
        message = await self._run({"task": "frontier"}, payload, seconds, report)
        return str(message["frontier"])

    async def trace(self, model: bytes, name: str, settings: dict[str, Any]) -> str:
        header = {"task": "trace", "name": name, "settings": settings}
        message = await self._run(header, model, self._settings.trace_seconds, lambda _: None)
        return str(message["graph"])

    async def _run(
        self, header: dict[str, Any], payload: bytes, seconds: float, report: ProgressReport
    ) -> dict[str, Any]:
        # -P: modules of the current directory are none of ours.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "memplan.planner_service.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE_BYTES,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                return await _converse(process, header, payload, report)
        except TimeoutError:
            raise ProblemError(
                500,
                "out-of-time",
                f"no result within {seconds:.0f} s; ask for a shorter time limit",
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            assert process.stdin is not None
            process.stdin.close()


async def _converse(
    process: asyncio.subprocess.Process,
    header: dict[str, Any],
    payload: bytes,
    report: ProgressReport,
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(
            json.dumps(header | {"length": len(payload)}).encode() + b"\n" + payload
        )
        await process.stdin.drain()
    except ConnectionError:
        pass  # it died early; what it said, if anything, is read below
    while line := await _line(process.stdout):
        message: dict[str, Any] = json.loads(line)
        if message["outcome"] == "problem":
            kind, detail = message["kind"], message["detail"]
            raise ProblemError(_STATUS.get(kind, 500), kind, detail)
        if message["outcome"] is not None:
            return message
        report(message["progress"])
    code = await process.wait()
    how = f"signal {-code}" if code < 0 else f"code {code}"
    raise ProblemError(
        500,
        "child-ended",
        f"the process that worked on this ended early ({how}), perhaps out of memory; "
        "the question was not answered, ask again or ask less",
    )


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the limit
        raise ProblemError(
            500,
            "too-large",
            f"the result has more than {_MAX_LINE_BYTES} bytes; ask for fewer budgets",
        ) from None
