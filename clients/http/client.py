"""A small client of the planner service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal

import httpx2

from memplan.ir.answer import Answer
from memplan.ir.base import Document, canonical_json
from memplan.ir.check.answer import require_answer
from memplan.ir.check.frontier import require_frontier
from memplan.ir.errors import (
    DataError,
    GraphError,
    MemplanError,
    MissingExtraError,
    ModelError,
    RequestError,
)
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest

__all__ = ["PlannerClient", "ServiceError"]

#: Longest wait that one exchange asks the server for.
_POLL_SECONDS = 20.0
_SLACK_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 10.0
#: A full server, and one that is being restarted: the same question again is right.
_BUSY = (429, 503)
_ACCEPTED = 202
_NOT_FOUND = 404
#: What a server may take beyond the time limit.
_BESIDE_SECONDS = 60.0
_SECONDS_PER_BUDGET = 6.0
_ERRORS: dict[str, type[MemplanError]] = {
    "invalid-graph": GraphError,
    "bad-model": ModelError,
    "bad-data": DataError,
    "not-installed": MissingExtraError,
    "torch-not-installed": MissingExtraError,
}


class ServiceError(MemplanError):
    """The server refused, failed, or cannot be reached.

    Attributes:
        status: HTTP status; 0 where there was no response.
        problem: the problem details (RFC 9457) that the server sent, or an empty dict.
        retry_after: seconds after which the server may be asked again.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        problem: dict[str, Any] | None = None,
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}
        self.retry_after = retry_after


class PlannerClient:
    """Asks a server that ``plan serve`` runs.

    Args:
        base_url: such as ``http://127.0.0.1:8080``.
        http: client to use instead of one of our own, for certificates, proxies or tests.

    Raises:
        RequestError: the address does not begin with http:// or https://.
    """

    def __init__(self, base_url: str, http: httpx2.Client | None = None) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise RequestError(f"{base_url}: no address of a server; write http://HOST:PORT")
        self._base_url = base_url.rstrip("/") + "/"
        self._owns_http = http is None
        self._http = httpx2.Client(timeout=_POLL_SECONDS + _SLACK_SECONDS) if http is None else http

    def __enter__(self) -> PlannerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections."""
        if self._owns_http:
            self._http.close()

    def plan(
        self,
        graph: OpGraph,
        request: PlanRequest,
        wait: float | None = None,
        start: Plan | None = None,
    ) -> Answer:
        """Return the answer of the server.

        Asking again is safe: a question is solved once, and its answer stays.  A server that has
        too much to do is asked again later, and one that was restarted is asked anew.

        Args:
            graph: what ``memplan.trace`` returns.
            request: what is wanted of it.
            wait: seconds until the caller gives up; by default the request's time limit and a
                minute more.  The server goes on, and has the answer when asked again.
            start: a plan of the same graph that the search goes on from.

        Raises:
            RequestError, GraphError: the server finds the question wrong, or ``start``.
            MissingExtraError: the server has no solver.
            PlanRejectedError: the answer is not one to this question, contradicts itself, or has a
                wrong plan; it is checked here, whatever the server has done.
            ServiceError: the server refuses, fails, cannot be reached, or is not done in time.
        """
        seconds = request.time_limit_seconds + _BESIDE_SECONDS if wait is None else wait
        question = {"graph": _json(graph), "request": _json(request)}
        if start is not None:
            question["start"] = _json(start)
        answer = Answer.from_json(self._answer("plans", question, seconds), self._base_url)
        require_answer(graph, request, answer)
        return answer

    def frontier(
        self,
        graph: OpGraph,
        request: PlanRequest,
        budgets: int | Sequence[int] = 20,
        wait: float | None = None,
    ) -> Frontier:
        """Return plans over a range of budgets, such that more bytes never cost more.

        Args:
            graph: as for ``plan``.
            request: its budget does not matter; its time limit is that of all budgets together.
            budgets: in bytes; or how many, evenly from the smallest plan that is found to the one
                from which more bytes buy nothing.
            wait: seconds until the caller gives up; by default the time limit, a minute, and some
                seconds for each budget.

        Raises:
            as ``plan`` does; each plan, and how they follow each other, is checked here.
        """
        count = budgets if isinstance(budgets, int) else len(budgets)
        if wait is None:
            wait = request.time_limit_seconds + _BESIDE_SECONDS + _SECONDS_PER_BUDGET * count
        question = {
            "graph": _json(graph),
            "request": _json(request),
            "budgets": budgets if isinstance(budgets, int) else list(budgets),
        }
        content = self._answer("frontiers", question, wait)
        frontier = Frontier.from_json(content, self._base_url)
        require_frontier(graph, frontier, request, budgets)
        return frontier

    def graph(self, plan_id: str, kind: Literal["plans", "frontiers"] = "plans") -> OpGraph:
        """Return the graph of a question: what was sent, or traced from an uploaded ``.pt2``.

        Args:
            plan_id: the last part of the address where the answer is.
            kind: the part before it.

        Raises:
            RequestError: that is no id.
            ServiceError: the server has no such question, or cannot be reached.
            GraphError: what it sends is no graph.
        """
        if not plan_id.isalnum():
            raise RequestError(f"{plan_id[:80]!r} is no id of a plan; take it from its address")
        response = self._send("GET", f"v1/{kind}/{plan_id}/graph", time.monotonic())
        return OpGraph.from_json(response.content, self._base_url)

    def health(self) -> dict[str, Any]:
        """Return version and solver of the server.

        Raises:
            ServiceError: it cannot be reached, or something else answers there.
        """
        response = self._send("GET", "healthz", time.monotonic())
        try:
            health = response.json()
        except ValueError:
            health = None
        if not isinstance(health, dict):
            raise self._stranger(response)
        return health

    def _answer(self, kind: str, question: dict[str, Any], seconds: float) -> bytes:
        """Return what a server answers to a question, within so many seconds."""
        deadline = time.monotonic() + seconds
        body = canonical_json(question)
        response = self._ask(kind, body, deadline)
        while response.status_code == _ACCEPTED:
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"{self._base_url}: no answer within {seconds:.0f} s; ask again later, the "
                    "server goes on",
                    _ACCEPTED,
                )
            # Below our own address: a server behind a proxy does not know what it is called.
            name = response.headers.get("location", "").rsplit("/", 1)[-1]
            try:
                response = self._send("GET", f"v1/{kind}/{name}", deadline)
            except ServiceError as failure:
                if failure.status != _NOT_FOUND and failure.status not in _BUSY:
                    raise
                response = self._ask(kind, body, deadline)
        return response.content

    def _ask(self, kind: str, body: str, deadline: float) -> httpx2.Response:
        """Return the response to a question; a busy server is asked until the deadline."""
        while True:
            try:
                return self._send("POST", f"v1/{kind}", deadline, body)
            except ServiceError as failure:
                pause = failure.retry_after
                if failure.status not in _BUSY or time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)

    def _send(
        self, method: str, path: str, deadline: float, body: str | None = None
    ) -> httpx2.Response:
        wait = max(0, min(_POLL_SECONDS, deadline - time.monotonic()))
        headers = {"Prefer": f"wait={wait:.0f}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = self._base_url + path
        try:
            response = self._http.request(method, url, content=body, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as failure:
            raise ServiceError(
                f"{url}: {str(failure) or type(failure).__name__}; is plan serve running there?"
            ) from None
        if response.status_code >= 400:
            raise _error(url, response)
        if response.status_code not in (200, 202):
            raise self._stranger(response)
        return response

    def _stranger(self, response: httpx2.Response) -> ServiceError:
        return ServiceError(
            f"{self._base_url}: what answers there ({response.status_code}) is no planner service",
            response.status_code,
        )


def _json(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json", by_alias=True)


def _error(url: str, response: httpx2.Response) -> MemplanError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    detail = str(problem.get("detail") or response.reason_phrase)
    kind = _ERRORS.get(str(problem.get("type", "")).rpartition(":")[2])
    if kind is not None:
        return kind(f"{url}: {detail}")
    if response.status_code in (400, 422):
        return RequestError(f"{url}: {detail}")
    return ServiceError(
        f"{url}: {response.status_code}: {detail}",
        response.status_code,
        problem,
        _pause_seconds(response),
    )


def _pause_seconds(response: httpx2.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_PAUSE_SECONDS) if asked.isdecimal() else 1.0
