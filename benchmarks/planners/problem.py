"""The common graph: what every planner is given, and what its answer is measured by.

A problem is a list of operations in a topological order.  Each has a cost and produces one block of
bytes, which is freed after its last reader (or after itself).  Forward operations may be computed
again.  An answer is a sequence of operations; ``simulate`` replays it, and no one else counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["Problem", "Replay", "load_problem", "simulate"]


@dataclass(frozen=True)
class Problem:
    """Operations in a topological order.

    Attributes:
        costs: of one computation, in units of the instance: the time that it takes.
        sizes_bytes: of what an operation produces.
        forward: whether an operation belongs to the forward pass, and may run again.
        inputs: per operation, the operations whose results it reads.
        macs: multiply-accumulates of one computation; empty where the instance counts none.
    """

    name: str
    costs: tuple[int, ...]
    sizes_bytes: tuple[int, ...]
    forward: tuple[bool, ...]
    inputs: tuple[tuple[int, ...], ...]
    macs: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Number of operations."""
        return len(self.costs)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """Per operation, those that read its result, in order."""
        found: list[list[int]] = [[] for _ in self.costs]
        for reader, inputs in enumerate(self.inputs):
            for read in inputs:
                found[read].append(reader)
        return tuple(tuple(readers) for readers in found)

    @cached_property
    def base_cost(self) -> int:
        """Cost of computing everything once."""
        return sum(self.costs)

    @cached_property
    def base_macs(self) -> int | None:
        """Multiply-accumulates of computing everything once; None where none are counted."""
        return sum(self.macs) if self.macs else None

    @cached_property
    def plain_peak_bytes(self) -> int:
        """Peak of live bytes in the given order, nothing computed twice."""
        return simulate(self, range(self.count)).peak_bytes


@dataclass(frozen=True)
class Replay:
    """What a sequence costs.

    Attributes:
        peak_bytes: of live bytes; a block lives from its step to its last reader before the next
            computation of the same operation.
        cost: of all computations, the first ones included.
        lifetimes: (operation, first step, step behind the last, bytes) of each block.
        macs: of all computations; None where the problem counts none.
    """

    peak_bytes: int
    cost: int
    lifetimes: tuple[tuple[int, int, int, int], ...]
    macs: int | None = None


def load_problem(path: Path) -> Problem:
    """Read an instance: ``ops`` are ``[cost, bytes, phase, inputs]``.

    Raises:
        ValueError: the file is none.
    """
    try:
        rows = json.loads(path.read_text())["ops"]
        return Problem(
            path.stem,
            tuple(int(row[0]) for row in rows),
            tuple(int(row[1]) for row in rows),
            tuple(row[2] == "forward" for row in rows),
            tuple(tuple(dict.fromkeys(row[3])) for row in rows),
        )
    except (KeyError, IndexError, TypeError) as failure:
        raise ValueError(f"{path}: no scheduling instance ({failure!r})") from failure


def simulate(problem: Problem, sequence: Sequence[int]) -> Replay:
    """Replay a sequence of operations.

    Raises:
        ValueError: it reads what is not there, leaves an operation out, or computes again what may
            not be.
    """
    latest: dict[int, int] = {}
    blocks: list[list[int]] = []
    cost = 0
    for step, operation in enumerate(sequence):
        for read in problem.inputs[operation]:
            if read not in latest:
                raise ValueError(f"step {step}: operation {operation} reads {read}, not computed")
            blocks[latest[read]][2] = step + 1
        if operation in latest and not problem.forward[operation]:
            raise ValueError(f"step {step}: operation {operation} may not run again")
        latest[operation] = len(blocks)
        blocks.append([operation, step, step + 1, problem.sizes_bytes[operation]])
        cost += problem.costs[operation]
    if len(latest) < problem.count:
        missing = next(o for o in range(problem.count) if o not in latest)
        raise ValueError(f"operation {missing} is left out")
    change = [0] * (len(blocks) + 1)
    for _, start, end, size in blocks:
        change[start] += size
        change[end] -= size
    live = peak = 0
    for step in range(len(blocks)):
        live += change[step]
        peak = max(peak, live)
    macs = sum(problem.macs[operation] for operation in sequence) if problem.macs else None
    return Replay(peak, cost, tuple((o, s, e, b) for o, s, e, b in blocks), macs)
