"""The child process that solves a question, or traces an uploaded model.

``python -m memplan.planner_service.child``: reads one task from stdin (a JSON header on a line,
then the payload), writes JSON lines to stdout, the last of which is the outcome.  Nothing is
ever unpickled on either side.  It dies with its parent.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import PurePath
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from memplan.ir.check import require
from memplan.ir.errors import (
    DataError,
    GraphError,
    MemplanError,
    MissingExtraError,
    ModelError,
    PlanRejectedError,
    RequestError,
)
from memplan.planner_service.places import without_places

__all__ = ["main", "outcome_of_error"]

Send = Callable[[dict[str, Any]], None]
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do one task and end."""
    _die_with_parent()
    # Ctrl-C in the server's terminal reaches children too; the server ends them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    results = _own_stdout()
    header = json.loads(sys.stdin.buffer.readline())
    payload = _read_exactly(sys.stdin.buffer, int(header["length"]))
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        results.write(json.dumps(message, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        results.flush()

    try:
        _TASKS[header["task"]](header, payload, send)
    except MemplanError as failure:
        send(outcome_of_error(failure))


def outcome_of_error(failure: MemplanError) -> dict[str, Any]:
    """Return the line that says that a task failed for a reason that the user can act on."""
    kinds: tuple[tuple[type[MemplanError], str], ...] = (
        (RequestError, "invalid-request"),
        (GraphError, "invalid-graph"),
        (ModelError, "bad-model"),
        (DataError, "bad-data"),
        (MissingExtraError, "not-installed"),
    )
    kind = next((name for error, name in kinds if isinstance(failure, error)), "internal")
    return {"outcome": "problem", "kind": kind, "detail": without_places(str(failure))}


def _solve(header: dict[str, Any], payload: bytes, send: Send) -> None:
    from memplan.planner_service.question import Question

    question = Question.model_validate_json(payload)
    try:
        from memplan.solver import solve
    except ImportError as failure:
        raise _without_solver(failure) from None
    if question.start is not None:
        try:
            require(question.graph, question.start)
        except PlanRejectedError as failure:  # of the solver it would be a defect
            raise RequestError(f"start: {failure}") from None
    answer = solve(
        question.graph, question.request, start=question.start, progress=_reporting(send)
    )
    send({"outcome": "answer", "answer": answer.to_json()})


def _frontier(header: dict[str, Any], payload: bytes, send: Send) -> None:
    from memplan.planner_service.question import FrontierQuestion

    question = FrontierQuestion.model_validate_json(payload)
    try:
        from memplan.solver import frontier
    except ImportError as failure:
        raise _without_solver(failure) from None
    found = frontier(question.graph, question.request, question.budgets, progress=_reporting(send))
    send({"outcome": "frontier", "frontier": found.to_json()})


def _without_solver(failure: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"this server has no solver ({failure.name} is missing); install memplan[service] on it"
    )


def _reporting(send: Send) -> Callable[[Any], None]:
    """Return what takes the solver's progress, a dataclass, and sends it."""

    def report(progress: Any) -> None:
        send({"outcome": None, "progress": dataclasses.asdict(progress)})

    return report


def _trace(header: dict[str, Any], payload: bytes, send: Send) -> None:
    from memplan.tracing import TraceSettings, trace
    from memplan.tracing.importance import weight_norms
    from memplan.tracing.loaders import load
    from memplan.tracing.weights import real_parameters

    name: str = header["name"]
    # A file without a name, so that nothing stays behind however this process ends.
    with TemporaryFile() as file:
        file.write(payload)
        file.flush()
        path = f"/dev/fd/{file.fileno()}"
        try:
            model = dataclasses.replace(load(path), name=PurePath(name).stem or "model")
            graph = trace(model, TraceSettings(**header["settings"]))
            if graph.mode == "train":
                weights = real_parameters(graph, model.read_weights)
                finite = {key: value for key, value in weights.items() if value.isfinite().all()}
                graph = weight_norms(graph, finite)
        except MemplanError as failure:
            outcome = outcome_of_error(failure)
            uploaded = f"the uploaded file {name}"
            detail = str(failure).replace(path, uploaded)
            # Some messages name the model, which until it is read is called as its path ends.
            if detail.startswith(f"{file.fileno()}: "):
                detail = f"{uploaded}: {detail.partition(': ')[2]}"
            send(outcome | {"detail": without_places(detail)})
            return
    send({"outcome": "graph", "graph": graph.to_json()})


_TASKS: dict[str, Callable[[dict[str, Any], bytes, Send], None]] = {
    "solve": _solve,
    "frontier": _frontier,
    "trace": _trace,
}


def _own_stdout() -> BinaryIO:
    """Return the parent's pipe, and send whatever libraries print to stderr instead."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return results


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    payload = stream.read(length)
    if len(payload) != length:
        sys.exit("the parent ended before the whole task was sent")
    return payload


def _end_at_end_of_input() -> None:
    """The parent holds the other end of stdin open while it wants the result."""
    # Below Python's buffered stdin: a thread in it would block the interpreter's exit.
    while os.read(0, 4096):
        pass
    os._exit(1)


def _die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies: native code may hold the interpreter's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
