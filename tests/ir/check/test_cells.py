from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from memplan.ir.check.cells import Marks

COUNT = 1500  # some blocks and a rest
RANGES = st.lists(
    st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)).map(
        lambda ends: (min(ends), max(ends))
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(RANGES, RANGES)
def test_marks_are_a_list_that_is_written_and_asked_by_range(
    written: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    marks, cells = Marks(COUNT), [0] * COUNT
    for mark, (first, last) in enumerate(written, start=1):
        marks.raise_to(mark, (first, last))
        cells[first:last] = [mark] * (last - first)
        for begin, end in (*asked, (first, last), (0, COUNT)):
            assert marks.highest((begin, end)) == max(cells[begin:end], default=0)


def test_a_lower_mark_beside_a_higher_one() -> None:
    marks = Marks(COUNT)
    marks.raise_to(9, (0, 10))
    marks.raise_to(3, (10, COUNT))  # of the same block
    assert marks.highest((0, COUNT)) == 9
    assert marks.highest((10, COUNT)) == 3
    assert marks.highest((0, 1400)) == 9
