"""Small packing problems: random ones, and cut-up rectangles that fill their capacity."""

from __future__ import annotations

from random import Random

from memplan.solver.packing import Rectangle


def random_problem(seed: int, count: int = 7) -> list[Rectangle]:
    """Return rectangles that are small enough for brute force."""
    chance = Random(seed)
    rectangles = []
    for _ in range(count):
        start = chance.randrange(0, 6)
        rectangles.append(
            Rectangle(start, start + chance.randrange(1, 5), chance.choice((1, 2, 3, 5, 6, 7)))
        )
    return rectangles


def cut_up(seed: int, count: int, steps: int, capacity: int) -> list[Rectangle]:
    """Cut [0, steps) x [0, capacity) into ``count`` pieces: a packing without any gap exists."""
    chance = Random(seed)
    pieces = [(0, steps, 0, capacity)]
    while len(pieces) < count:
        pieces.sort(key=lambda piece: (piece[1] - piece[0]) * (piece[3] - piece[2]))
        start, end, low, high = pieces.pop(-1 - min(int(chance.expovariate(0.3)), len(pieces) - 1))
        if chance.random() < 0.5 and end - start > 1:
            middle = chance.randrange(start + 1, end)
            pieces += [(start, middle, low, high), (middle, end, low, high)]
        elif high - low > 1:
            middle = chance.randrange(low + 1, high)
            pieces += [(start, end, low, middle), (start, end, middle, high)]
        else:
            pieces.append((start, end, low, high))
    chance.shuffle(pieces)
    return [Rectangle(start, end, high - low) for start, end, low, high in pieces]
