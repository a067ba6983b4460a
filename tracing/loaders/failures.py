"""One line out of an error of torch, which may be pages long."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return the kind of ``error`` and the first line of it, at most ``limit`` characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
