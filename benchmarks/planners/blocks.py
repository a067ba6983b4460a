"""The forward pass as a sequence of blocks between articulation points.

A border is where one forward result alone is still to be read by the forward pass.  Backward
operations belong to the last block that they read from; blocks are merged until every backward
operation reads from its own block and the border before it alone, and until the backward of the
blocks comes in reverse order.  A chain has one block per operation.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.planners.problem import Problem

__all__ = ["Block", "blocks"]


@dataclass(frozen=True)
class Block:
    """Forward operations between two borders, and their backward.

    Attributes:
        forward: its operations, in order.
        backward: of it, in order.
        border: the result of an earlier block that it reads; None for the first.
        output: its result that the next block reads; None for the last.
        saved: its results that its backward reads.
    """

    forward: tuple[int, ...]
    backward: tuple[int, ...]
    border: int | None
    output: int | None
    saved: frozenset[int]


def blocks(problem: Problem) -> list[Block]:
    """Return the blocks, first to last."""
    forward = [o for o in range(problem.count) if problem.forward[o]]
    place = {o: position for position, o in enumerate(forward)}
    last_read = {
        o: max((place[r] for r in problem.readers[o] if r in place), default=-1) for o in forward
    }
    borders: list[tuple[int, int]] = []  # (position behind which it is, what crosses)
    crossing: set[int] = set()
    for position, o in enumerate(forward[:-1]):
        crossing = {x for x in crossing if last_read[x] > position}
        if last_read[o] > position:
            crossing.add(o)
        if len(crossing) == 1:
            borders.append((position, next(iter(crossing))))
    while True:
        assigned = _assigned(problem, place, borders)
        if isinstance(assigned, dict):
            return _built(problem, forward, place, borders, assigned)
        low, high = assigned
        del borders[low:high]


def _block_of(place: int, borders: list[tuple[int, int]]) -> int:
    return sum(1 for position, _ in borders if position < place)


def _assigned(
    problem: Problem, place: dict[int, int], borders: list[tuple[int, int]]
) -> dict[int, int] | tuple[int, int]:
    """Return the block of each backward operation, or the range of borders that must go."""
    block = {o: _block_of(position, borders) for o, position in place.items()}
    assigned: dict[int, int] = {}
    current = len(borders)
    for o in range(problem.count):
        if problem.forward[o]:
            continue
        reads = [read for read in problem.inputs[o] if read in place]
        first = min((block[read] for read in reads), default=current)
        if not _is_within(reads, current, block, borders):
            last = max(block[read] for read in reads)
            if last > current or not _is_within(reads, last, block, borders):
                return min(first, current), max(last, current)
            current = last
        assigned[o] = current
    return assigned


def _is_within(
    reads: list[int], number: int, block: dict[int, int], borders: list[tuple[int, int]]
) -> bool:
    border = borders[number - 1][1] if number else None
    return all(block[read] == number or read == border for read in reads)


def _built(
    problem: Problem,
    forward: list[int],
    place: dict[int, int],
    borders: list[tuple[int, int]],
    assigned: dict[int, int],
) -> list[Block]:
    count = len(borders) + 1
    block = {o: _block_of(position, borders) for o, position in place.items()}
    backward: list[list[int]] = [[] for _ in range(count)]
    for o, number in assigned.items():
        backward[number].append(o)
    built = []
    for number in range(count):
        own = [o for o in forward if block[o] == number]
        saved = {o for o in own if set(problem.readers[o]) & set(backward[number])}
        built.append(
            Block(
                tuple(own),
                tuple(backward[number]),
                borders[number - 1][1] if number else None,
                borders[number][1] if number < count - 1 else None,
                frozenset(saved),
            )
        )
    return built
