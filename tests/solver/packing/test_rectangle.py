from __future__ import annotations

from memplan.solver.packing.rectangle import Rectangle, clique_bound, height, overlapping

R = Rectangle


def test_clique_bound_is_the_peak_of_live_bytes() -> None:
    assert clique_bound([]) == 0
    assert clique_bound([R(0, 2, 5), R(2, 4, 7), R(1, 3, 2)]) == 9
    # Lifetimes are half-open: the second begins where the first ends.
    assert clique_bound([R(0, 2, 5), R(2, 4, 5)]) == 5


def test_height_is_the_highest_end() -> None:
    assert height([R(0, 1, 5), R(0, 1, 2)], [0, 9]) == 11
    assert height([], []) == 0


def test_overlapping_lifetimes() -> None:
    assert [sorted(n) for n in overlapping([R(0, 2, 5), R(2, 4, 7), R(1, 3, 2)])] == [
        [2],
        [2],
        [0, 1],
    ]
