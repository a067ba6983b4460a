"""Bodies are counted while they arrive, so that a large one is refused before it is stored."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memplan.planner_service.problems import ProblemError, problem_response

__all__ = ["BodyLimit"]


class _TooLargeError(Exception):
    """The body went over the limit."""


class BodyLimit:
    """ASGI middleware: 413 for a body of more than ``max_body_bytes``, declared or chunked."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            await self._refuse(scope, receive, send)
            return
        received = 0
        started = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLargeError:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = ProblemError(
            413,
            "body-too-large",
            f"the body is larger than {self._max_body_bytes} bytes; send a graph without weights "
            "(plan trace), or raise the server's limit",
        )
        await problem_response(problem, scope["path"])(scope, receive, send)
