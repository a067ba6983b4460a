"""Names, durations and counts as people read them."""

from __future__ import annotations

import math

__all__ = ["format_count", "format_seconds", "gap_text", "printable", "share_text"]


def printable(text: str, limit: int = 60) -> str:
    """Return a name from a file so that it cannot steer the terminal, and is not too long."""
    clean = "".join(char if char.isprintable() else "?" for char in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def format_seconds(time_ns: int) -> str:
    """Return a duration for people."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if time_ns >= size:
            return (
                f"{time_ns / size:.3g} {unit}"
                if time_ns < 1000 * size
                else f"{time_ns / size:,.0f} {unit}"
            )
    return f"{time_ns} ns"


def format_count(number: int) -> str:
    """Return a large count for people: ``12_500_000`` is ``"12.5 M"``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def gap_text(gap: float) -> str:
    """Return a gap in per cent, rounded up: only what is proved is shown as 0.0 %.

    Where a plan updates little, its importance is many times below the bound: no figure helps then.
    """
    if gap > 1:
        return "over 100 %"
    return f"{math.ceil(1000 * gap - 1e-9) / 10:.1f} %"


def share_text(share: float) -> str:
    """Return a share in per cent, rounded down: only all of it is shown as 100.0 %."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f} %"
