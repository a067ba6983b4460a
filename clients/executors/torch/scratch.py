"""What torch allocates outside of the arena while a step runs.

Every allocation that goes through torch's CPU allocator is counted, in order and also inside of
operations, with the profiler's own records.  Not seen: what a library takes straight from the
system, such as numpy's chunks in ``kernels.bits`` and ``kernels.dropout`` (a few hundred KB at
most, of fixed size) and threads' stacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["OperationScratch", "ScratchReport", "measure"]

_MARK = "memplan:"


@dataclass(frozen=True, slots=True)
class OperationScratch:
    """Most bytes that one operation held outside of the arena at once."""

    operation: str
    target: str
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class ScratchReport:
    """Most bytes outside of the arena at once, and who took them, largest first."""

    peak_bytes: int
    operations: tuple[OperationScratch, ...]


def measure(steps: Callable[[Callable[[str, str], Any]], None]) -> ScratchReport:
    """Run ``steps`` and report what was allocated meanwhile.

    Args:
        steps: runs the step; it gets a function (operation, target) -> context manager in which
            to run each operation.
    """
    names: list[tuple[str, str]] = []

    def mark(operation: str, target: str) -> Any:
        names.append((operation, target))
        return torch.autograd.profiler.record_function(f"{_MARK}{len(names) - 1}")

    profiler = torch._C._profiler
    config = profiler.ProfilerConfig(
        profiler.ProfilerState.CPU, False, True, False, False, False, profiler._ExperimentalConfig()
    )
    # The records of torch.autograd.profiler_legacy: unlike kineto's they keep their order.
    autograd: Any = torch.autograd
    autograd._enable_profiler_legacy(config)
    try:
        steps(mark)
    finally:
        threads: Any = autograd._disable_profiler_legacy()
    live, highest = 0, 0
    peaks: dict[tuple[str, str], int] = {}
    for thread in threads:
        inside: list[int | None] = []
        base = 0
        for record in thread:
            kind: str = record.kind()
            if kind == "push":
                name = record.name()
                index = int(name.removeprefix(_MARK)) if name.startswith(_MARK) else None
                inside.append(index)
                if index is not None:
                    base = live
            elif kind == "pop" and inside:
                inside.pop()
            elif kind == "memory_alloc":
                live += record.cpu_memory_usage()
                highest = max(highest, live)
                current = next((index for index in inside if index is not None), None)
                if current is not None:
                    key = names[current]
                    peaks[key] = max(peaks.get(key, 0), live - base)
    operations = tuple(
        OperationScratch(operation, target, peak)
        for (operation, target), peak in sorted(peaks.items(), key=lambda item: (-item[1], item[0]))
        if peak > 0
    )
    return ScratchReport(highest, operations)
