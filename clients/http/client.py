"""A small client of the planner service."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

import httpx2

from memplan.ir.answer import Answer
from memplan.ir.base import canonical_json
from memplan.ir.errors import MemplanError, RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest

__all__ = ["PlannerClient", "ServiceError"]

#: Longest wait that one exchange asks the server for.
_POLL_SECONDS = 20.0
_SLACK_SECONDS = 30.0


class ServiceError(MemplanError):
    """The server refused, failed, or cannot be reached.

    Attributes:
        status: HTTP status; 0 where there was no response.
        problem: the problem details (RFC 9457) that the server sent, or an empty dict.
    """

    def __init__(
        self, message: str, status: int = 0, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}


class PlannerClient:
    """Asks a server that ``plan serve`` runs.

    Args:
        base_url: such as ``http://127.0.0.1:8080``.
        http: client to use instead of one of our own, for certificates, proxies or tests.
    """

    def __init__(self, base_url: str, http: httpx2.Client | None = None) -> None:
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

    def plan(self, graph: OpGraph, request: PlanRequest, wait: float | None = None) -> Answer:
        """Return the answer of the server.

        Asking again is safe: a question is solved once, and its answer stays.

        Args:
            graph: what ``memplan.trace`` returns.
            request: what is wanted of it.
            wait: seconds until the caller gives up; by default the request's time limit and a
                minute more.  The server goes on, and has the answer when asked again.

        Raises:
            RequestError: the server finds the question wrong.
            ServiceError: the server refuses, fails, cannot be reached, or is not done in time.
        """
        seconds = request.time_limit_seconds + 60 if wait is None else wait
        deadline = time.monotonic() + seconds
        body = canonical_json(
            {
                "graph": graph.model_dump(mode="json", by_alias=True),
                "request": request.model_dump(mode="json", by_alias=True),
            }
        )
        response = self._send("POST", "v1/plans", deadline, body)
        while response.status_code == 202:
            if time.monotonic() >= deadline:
                raise ServiceError(
                    f"{self._base_url}: no answer within {seconds:.0f} s; ask again later, the "
                    "server goes on",
                    202,
                )
            # Against our own address: a server behind a proxy does not know its name.
            response = self._send("GET", response.headers["location"].lstrip("/"), deadline)
        return Answer.from_json(response.content, self._base_url)

    def health(self) -> dict[str, Any]:
        """Return version and solver of the server.

        Raises:
            ServiceError: it cannot be reached.
        """
        health: dict[str, Any] = self._send("GET", "healthz", time.monotonic()).json()
        return health

    def _send(
        self, method: str, path: str, deadline: float, body: str | None = None
    ) -> httpx2.Response:
        wait = max(0, min(_POLL_SECONDS, deadline - time.monotonic()))
        headers = {"Prefer": f"wait={wait:.0f}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        url = urljoin(self._base_url, path)
        try:
            response = self._http.request(method, url, content=body, headers=headers)
        except httpx2.HTTPError as failure:
            raise ServiceError(
                f"{url}: {str(failure) or type(failure).__name__}; is plan serve running there?"
            ) from None
        if response.status_code >= 400:
            raise _error(url, response)
        return response


def _error(url: str, response: httpx2.Response) -> MemplanError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    detail = str(problem.get("detail") or response.reason_phrase)
    if response.status_code in (400, 422):
        return RequestError(f"{url}: {detail}")
    return ServiceError(f"{url}: {response.status_code}: {detail}", response.status_code, problem)
