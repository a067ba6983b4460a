"""A schedule out of a whole solution of ``retention``, and where to cut next if it does not fit.

The solution says in which block an operation runs again, not when.  Here it runs as late as can be:
right before the first operation of the block that needs its result, or before the last one if the
next block does.  Read is what was computed last, and what nobody reads any more is gone; so only
bytes can be wrong, within a block.  Where they are, the block is cut at the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memplan.solver.relaxation.retention import Retention
from memplan.solver.relaxation.timeline import Timeline

__all__ = ["Rounded", "rounded", "unchanged"]


@dataclass(frozen=True)
class Rounded:
    """Positions of a line in the order in which they run.

    Attributes:
        extra_ns: time of computations beyond the first.
        exceeding: behind the forward pass, at which steps the limit is exceeded, as the operation
            that runs first there or next; where it is exceeded most comes first.
        excess_bytes: by how much it is exceeded there.
    """

    order: tuple[int, ...]
    extra_ns: int
    exceeding: tuple[int, ...]
    excess_bytes: int = 0


def rounded(
    line: Timeline, limit_bytes: int, program: Retention, values: Sequence[float]
) -> Rounded:
    """Return the schedule of a whole solution.

    Args:
        line: in bytes.
        limit_bytes: of the program.
        values: of its variables.
    """
    order = list(range(line.forward))
    for q in range(len(program.starts)):
        order += _block(line, program, values, q)
    kept = _without_unread(line, order)
    extra = sum(line.again_time_ns[place] for place in kept) - sum(line.again_time_ns)
    excess = _excess(line, limit_bytes, kept)
    worst_first = sorted(excess, key=lambda place: (-excess[place], place))
    return Rounded(tuple(kept), extra, tuple(worst_first), max(excess.values(), default=0))


def unchanged(program: Retention, before: Retention, values: Sequence[float]) -> dict[int, int]:
    """Return what runs again, as variables fixed to a solution of a program with fewer cuts.

    Left open are the blocks that were cut, and those beside them.
    """
    old = {bounds: q for q, bounds in enumerate(zip(before.starts, before.stops, strict=True))}
    new = list(zip(program.starts, program.stops, strict=True))
    same = [bounds in old for bounds in new]
    settled = {q for q in range(len(new)) if same[q] and all(same[max(0, q - 1) : q + 2])}
    return {
        variable: round(values[before.again[place, old[new[q]]]])
        for (place, q), variable in program.again.items()
        if q in settled and (place, old[new[q]]) in before.again
    }


def _block(line: Timeline, program: Retention, values: Sequence[float], q: int) -> list[int]:
    sources = set(program.sources)

    def chosen(variables: dict[tuple[int, int], int], block: int) -> set[int]:
        return {
            k for (k, p), variable in variables.items() if p == block and values[variable] > 0.5
        }

    there = chosen(program.held, q)
    again = chosen(program.again, q)
    after = [k for k in sorted(chosen(program.held, q + 1)) if line.producer[k] in again]
    done: set[int] = set()

    def bring(item: int, to_run: list[int]) -> None:
        """Append what must run for an item to be there, operands first."""
        stack = [item]
        missing: set[int] = set()
        while stack:
            needed = stack.pop()
            place = line.producer.get(needed)
            if needed in there or place not in sources or place is None or place in done:
                continue
            done.add(place)
            missing.add(place)
            stack += line.again_reads[place]
        to_run += sorted(missing)
        there.update(written for place in missing for written in line.writes[place])

    order: list[int] = []
    for place in range(program.starts[q], program.stops[q]):
        to_run: list[int] = []
        for item in (*line.reads[place], *(after if place == program.stops[q] - 1 else ())):
            bring(item, to_run)
        order += [*sorted(to_run), place]
        there.update(line.writes[place])
    return order


def _without_unread(line: Timeline, order: Sequence[int]) -> list[int]:
    """Leave out what runs again and is not read until it runs again."""
    wanted = set(line.kept)
    first: dict[int, int] = {}
    for step, place in enumerate(order):
        first.setdefault(place, step)
    kept = []
    for step in range(len(order) - 1, -1, -1):
        place = order[step]
        if first[place] == step or not wanted.isdisjoint(line.writes[place]):
            kept.append(place)
            wanted.difference_update(line.writes[place])
            wanted.update(line.reads[place])
    kept.reverse()
    return kept


def _excess(line: Timeline, limit_bytes: int, order: Sequence[int]) -> dict[int, int]:
    """Return the bytes above the limit at the operations that run first there or next."""
    change = [0] * (len(order) + 1)
    latest: dict[int, list[int]] = {
        item: [0, 0] for item in range(len(line.size)) if item not in line.producer
    }
    lives = list(latest.items())
    for step, place in enumerate(order):
        for item in line.reads[place]:
            latest[item][1] = step + 1
        for item in line.writes[place]:
            latest[item] = [step, step + 1]
            lives.append((item, latest[item]))
    for item in line.kept:
        latest[item][1] = len(order)
    for item, (start, end) in lives:
        change[start] += line.size[item]
        change[end] -= line.size[item]
    excess: dict[int, int] = {}
    live = 0
    place_of = _next_first(line, order)
    for step, place in enumerate(order):
        live += change[step]
        over = live + line.beside_bytes[place] - limit_bytes
        at = place_of[step]
        if over > 0 and at >= line.forward:
            excess[at] = max(excess.get(at, 0), over)
    return excess


def _next_first(line: Timeline, order: Sequence[int]) -> list[int]:
    """Return for each step the operation that runs first there, or next behind it."""
    following = [0] * len(order)
    first: dict[int, int] = {}
    for step, place in enumerate(order):
        first.setdefault(place, step)
    current = len(line.reads) - 1
    for step in range(len(order) - 1, -1, -1):
        if first[order[step]] == step:
            current = order[step]
        following[step] = current
    return following
