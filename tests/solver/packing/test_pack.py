from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memplan.solver.packing import Rectangle, clique_bound, pack
from memplan.solver.packing.exact import no_overlap
from memplan.solver.packing.lowest_fit import ORDERS, improve_order, lowest_fit
from memplan.solver.packing.rectangle import height, overlapping
from tests.support.exact_packing import min_height

#: The peak of live bytes is 16, and every sort order of lowest fit needs more.
HARD = None


def assert_apart(rectangles: list[Rectangle], offsets: list[int] | tuple[int, ...]) -> None:
    """Assert that no two rectangles that live at once share a byte."""
    assert all(offset >= 0 for offset in offsets)
    for i, a in enumerate(rectangles):
        for j, b in enumerate(rectangles[:i]):
            if a.start < b.end and b.start < a.end:
                low, high = sorted(((offsets[i], a.size), (offsets[j], b.size)))
                assert low[0] + low[1] <= high[0], (a, b)


def random_rectangles(seed: int, count: int = 12) -> list[Rectangle]:
    chance = Random(seed)
    return [
        Rectangle(start, start + chance.randrange(1, 6), chance.choice((1, 2, 3, 4, 6, 8)))
        for start in (chance.randrange(0, 10) for _ in range(count))
    ]


rectangles_strategy = st.lists(
    st.builds(
        lambda start, length, size: Rectangle(start, start + length, size),
        st.integers(0, 12),
        st.integers(1, 6),
        st.integers(1, 40),
    ),
    max_size=14,
)
