"""Limits and places of a server, fixed when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may change; the defaults suit one machine and known clients."""

    #: SQLite file of the answers; None keeps them in memory until the server ends.
    store_path: Path | None = None
    #: Questions that are solved at a time, each in a child process.
    concurrent_solves: int = 1
    #: Uploads that are traced at a time, each in a child process.
    concurrent_traces: int = 2
    #: Questions, and uploads, that may wait for their turn; further ones are refused (429).
    max_queued: int = 64
    #: Largest body of a request.
    max_body_bytes: int = 16 * 2**20
    #: Largest ``time_limit_seconds`` that a request may ask for.
    max_time_limit_seconds: float = 600.0
    #: Most search workers that a request may ask for.
    max_workers: int = 8
    #: Most budgets of one frontier.
    max_budgets: int = 100
    #: Longest wait that ``Prefer: wait=N`` is honoured for.
    max_wait_seconds: float = 60.0
    #: What a child may take beyond the request's time limit, to start and to finish.
    grace_seconds: float = 60.0
    #: The same for each further budget of a frontier.
    grace_seconds_per_budget: float = 6.0
    #: What tracing an uploaded model may take.
    trace_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name in ("concurrent_solves", "concurrent_traces", "max_body_bytes", "max_workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
