"""A process that planners run in, so that one that overruns its time can be ended."""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from benchmarks.planners.answer import Attempt, NotApplicableError
from benchmarks.planners.problem import Problem

__all__ = ["Run", "Worker"]


@dataclass(frozen=True)
class Run:
    """What one call of a planner came to.

    Attributes:
        attempt: its answer; None where it gave none.
        failure: why it gave none.
        applicable: whether the planner is defined on the problem.
        wall_seconds: from the call to the answer.
        cpu_seconds: of all its threads and children.
    """

    attempt: Attempt | None
    failure: str = ""
    applicable: bool = True
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


class Worker:
    """Runs planners of the registry one at a time; starts its process when it is first needed."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def run(
        self, planner: str, problem: Problem, budget_bytes: int, seconds: float, grace: float = 2.0
    ) -> Run:
        """Run a planner; it is ended ``grace`` times the limit, and 10 s, after it began."""
        pipe = self._started()
        began = time.monotonic()
        pipe.send((planner, problem, budget_bytes, seconds))
        if pipe.poll(grace * seconds + 10.0):
            try:
                answer: Run = pipe.recv()
            except EOFError:
                self.close()
                return Run(None, "its process died", wall_seconds=time.monotonic() - began)
            return answer
        self.close()
        return Run(None, "ended from outside", wall_seconds=time.monotonic() - began)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _started(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self._pipe.recv()  # ready: importing is not planning
        return self._pipe


def _serve(pipe: Connection) -> None:
    from benchmarks.planners.registry import PLANNERS
    from memplan.solver import prepare

    prepare()  # compiled once per installation: not a planner's time
    pipe.send("ready")
    while True:
        try:
            planner, problem, budget_bytes, seconds = pipe.recv()
        except EOFError:
            return
        wall, cpu = time.monotonic(), _cpu_seconds()
        attempt, failure, applicable = None, "", True
        try:
            attempt = PLANNERS[planner](problem, budget_bytes, seconds)
        except NotApplicableError as reason:
            failure, applicable = str(reason), False
        except Exception:
            failure = traceback.format_exc(limit=-3)
        pipe.send(Run(attempt, failure, applicable, time.monotonic() - wall, _cpu_seconds() - cpu))


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
