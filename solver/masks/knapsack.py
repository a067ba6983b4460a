"""A knapsack with groups, of each of which one entry at most is taken: quickly, nearly exactly.

Of each group only entries on the upper hull of (weight, value) matter to the linear relaxation, and
steps along the hulls, the steepest first, solve it (Zemel, 1980).  Taken as far as they fit, they
miss the most value by less than one step.  What room is then left is given to single entries.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["fill", "most_value"]

Entry = tuple[int, int]


def fill(groups: Sequence[Sequence[Entry]], capacity: int) -> list[int]:
    """Return the entry that is taken of each group, or -1.

    Args:
        groups: (weight, value) of each entry; none is negative.
    """
    taken = [-1] * len(groups)
    left = capacity
    steps = []
    for group, entries in enumerate(groups):
        before = (0, 0)
        for number in _hull(entries):
            weight, value = entries[number][0] - before[0], entries[number][1] - before[1]
            steps.append((-value / max(weight, 1e-9), group, number, weight))
            before = entries[number]
    steps.sort()
    blocked: set[int] = set()
    for _, group, number, weight in steps:
        if group in blocked:
            continue
        if weight > left:
            blocked.add(group)
            continue
        taken[group] = number
        left -= weight
    while True:
        best: tuple[int, int, int, int] | None = None
        for group, entries in enumerate(groups):
            now = entries[taken[group]] if taken[group] >= 0 else (0, 0)
            for number, (weight, value) in enumerate(entries):
                more = value - now[1]
                if more > 0 and weight - now[0] <= left and (best is None or more > best[0]):
                    best = (more, group, number, weight - now[0])
        if best is None:
            return taken
        _, group, number, weight = best
        taken[group] = number
        left -= weight


def most_value(groups: Sequence[Sequence[Entry]], capacity: int) -> int:
    """Return what no choice of one entry of each group within the capacity is worth more than.

    The linear relaxation, rounded down; -1 where no choice is within the capacity.

    Args:
        groups: (weight, value) of each entry; none is empty, none negative.
    """
    value, left, steps = 0, capacity, []
    for entries in groups:
        # From the lightest, of the most value, of which there always is one.
        start = min(entries, key=lambda entry: (entry[0], -entry[1]))
        value, left = value + start[1], left - start[0]
        more = [(weight - start[0], worth - start[1]) for weight, worth in entries]
        before = (0, 0)
        for number in _hull(more):
            weight, worth = more[number][0] - before[0], more[number][1] - before[1]
            steps.append((worth / weight, weight, worth))
            before = more[number]
    if left < 0:
        return -1
    for _, weight, worth in sorted(steps, reverse=True):
        if weight > left:
            return value + worth * left // weight
        value, left = value + worth, left - weight
    return value


def _hull(entries: Sequence[Entry]) -> list[int]:
    """Return the entries on the upper hull from (0, 0), the lightest first."""
    hull: list[int] = []
    for number in sorted(range(len(entries)), key=lambda n: (entries[n][0], -entries[n][1])):
        weight, value = entries[number]
        if value <= (entries[hull[-1]][1] if hull else 0):
            continue
        while hull:
            first = entries[hull[-2]] if len(hull) > 1 else (0, 0)
            last = entries[hull[-1]]
            # Keep the last only if it is above the line from the one before it to this one.
            if (last[1] - first[1]) * (weight - first[0]) > (value - first[1]) * (
                last[0] - first[0]
            ):
                break
            hull.pop()
        hull.append(number)
    return hull
