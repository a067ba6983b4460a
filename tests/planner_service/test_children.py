from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memplan.ir.answer import Answer
from memplan.ir.check import check
from memplan.ir.errors import (
    DataError,
    GraphError,
    MemplanError,
    MissingExtraError,
    ModelError,
    PlanRejectedError,
    RequestError,
)
from memplan.ir.request import PlanRequest
from memplan.planner_service.child import outcome_of_error
from memplan.planner_service.children import ChildWorker
from memplan.planner_service.problems import ProblemError
from memplan.planner_service.question import Question
from memplan.planner_service.settings import Settings
from tests.support.hand_graphs import chain

QUESTION = Question(
    graph=chain(),
    request=PlanRequest(budget_bytes=10**6, batch=2, time_limit_seconds=5.0, workers=1),
)


def solve(settings: Settings, question: Question = QUESTION) -> tuple[str, list[dict[str, Any]]]:
    reports: list[dict[str, Any]] = []
    answer = asyncio.run(ChildWorker(settings).solve(question, reports.append))
    return answer, reports


def test_a_child_solves_and_reports() -> None:
    text, reports = solve(Settings())
    answer = Answer.from_json(text)
    assert answer.plan is not None
    assert check(QUESTION.graph, answer.plan).accepted
    assert all("stage" in report for report in reports)


def test_a_child_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(ProblemError, match="no result within"):
        solve(
            Settings(grace_seconds=-4.9)  # leaves 0.1 s: not even the start of an interpreter
        )
    assert time.monotonic() - began < 3


def test_a_cancelled_question_ends_its_child() -> None:
    async def cancelled() -> None:
        task = asyncio.create_task(ChildWorker(Settings()).solve(QUESTION, lambda _: None))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = _children()  # other tests may have left some
    asyncio.run(cancelled())
    assert set(_children()) <= set(before)


def test_a_child_that_is_killed_is_a_problem_of_its_question_alone() -> None:
    before = _children()  # other tests may have left some

    async def killed() -> None:
        question = Question(
            graph=QUESTION.graph,
            request=QUESTION.request.model_copy(update={"time_limit_seconds": 30.0}),
        )
        task = asyncio.create_task(ChildWorker(Settings()).solve(question, lambda _: None))
        for _ in range(200):
            if children := [child for child in _children() if child not in before]:
                break
            await asyncio.sleep(0.02)
        os.kill(children[0], signal.SIGKILL)
        await task

    with pytest.raises(ProblemError, match=r"ended early \(signal 9\)") as failure:
        asyncio.run(killed())
    assert (failure.value.status, failure.value.kind) == (500, "child-ended")


def test_a_hostile_model_is_a_problem_and_not_a_crash() -> None:
    with pytest.raises(ProblemError) as failure:
        asyncio.run(ChildWorker(Settings()).trace(b"no zip", "net.pt2", {"mode": "train"}))
    assert failure.value.status == 422
    assert failure.value.kind == "bad-model"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RequestError("x"), "invalid-request"),
        (GraphError("x"), "invalid-graph"),
        (ModelError("x"), "bad-model"),
        (DataError("x"), "bad-data"),
        (MissingExtraError("x"), "not-installed"),
        (PlanRejectedError("x"), "internal"),
    ],
)
def test_errors_keep_their_kind(failure: MemplanError, kind: str) -> None:
    assert outcome_of_error(failure) == {"outcome": "problem", "kind": kind, "detail": "x"}


def test_a_child_dies_with_its_parent() -> None:
    header = json.dumps({"task": "solve", "length": 10**6})
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-P', '-m',"
            " 'memplan.planner_service.child'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            f"child.stdin.write({header!r}.encode() + b'\\n')\n"
            "child.stdin.flush()\n"
            "time.sleep(1)\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)  # it lives
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(50):
        if not _lives(child):
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(process) for process in text.split()]


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
