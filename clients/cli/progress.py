"""Progress on stderr: one live line in a terminal, a line per stage where it is piped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.text import Text

from memplan.clients.report.wording import format_seconds, gap_text, share_text
from memplan.ir.units import format_bytes

if TYPE_CHECKING:
    from memplan.solver import FrontierProgress, Progress

__all__ = ["Reporter"]


class Reporter(AbstractContextManager["Reporter"]):
    """Tells what is going on until the block is left; the live line then disappears."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._stage = ""
        self._detail = ""
        self._status: Status | None = None
        if console.is_terminal:
            # The status asks again at each frame, so that the seconds run.
            self._status = console.status(self, spinner="dots")

    def __rich__(self) -> Text:
        line = self._line()
        line.truncate(self._console.width - 3, overflow="ellipsis")  # beside the spinner
        return line

    def __enter__(self) -> Reporter:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, name: str, detail: str = "") -> None:
        """Say that a stage began, or how it stands."""
        began = name != self._stage
        self._stage, self._detail = name, detail
        if self._status is None and began:
            self._console.print(self._line(), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def solving(self, progress: Progress) -> None:
        """Take a report of the solver; may be called from another thread."""
        self.stage(progress.stage, _detail(progress))

    def surveying(self, progress: FrontierProgress) -> None:
        """Take a report of a search over several budgets."""
        number = f"search {progress.done + 1} of at most {progress.most}"
        detail = ": ".join(filter(None, (progress.solving.stage, _detail(progress.solving))))
        self.stage(f"budget {format_bytes(progress.budget_bytes)}, {number}", detail)

    def _line(self) -> Text:
        line = Text(f"{time.monotonic() - self._started:6.1f} s  {self._stage}")
        if self._detail:
            line.append(f"  {self._detail}", style="dim")
        return line


def _detail(progress: Progress) -> str:
    if progress.arena_bytes is None:
        least = progress.lower_bound_bytes
        return "" if least is None else f"no plan yet, none below {format_bytes(least)}"
    parts = [f"plan {format_bytes(progress.arena_bytes)}"]
    if progress.importance is not None:
        parts.append(f"importance {_importance(progress.importance)}")
    if progress.time_ns is not None:
        parts.append(format_seconds(progress.time_ns))
    if progress.level is None:
        return ", ".join(parts)
    name, shown = _LEVELS[progress.level]
    if progress.bound is None or progress.gap is None:
        return f"{', '.join(parts)}; {name}: no bound"
    limit = "most" if progress.level == "importance" else "least"
    return (
        f"{', '.join(parts)}; {name}: at {limit} {shown(progress.bound)}, "
        f"gap {gap_text(progress.gap)}"
    )


def _importance(units: int) -> str:
    return share_text(units / 1_000_000)


_LEVELS: dict[str, tuple[str, Callable[[int], str]]] = {
    "importance": ("importance", _importance),
    "time_ns": ("time", format_seconds),
    "arena_bytes": ("bytes", format_bytes),
}
