from __future__ import annotations

from random import Random

import pytest

from tests.support.exact_packing import (
    Rectangle,
    Search,
    lower_bound,
    min_height,
    min_height_by_permutations,
    offsets,
)


def rectangles(seed: int) -> tuple[tuple[Rectangle, ...], int]:
    random = Random(seed)
    found = []
    for _ in range(random.randrange(1, 7)):
        start = random.randrange(0, 7)
        found.append((start, start + random.randrange(1, 5), random.choice((2, 3, 5, 7, 8, 12))))
    return tuple(found), random.choice((1, 4, 16))


@pytest.mark.parametrize("seed", range(80))
def test_search_equals_all_orders(seed: int) -> None:
    problem, alignment = rectangles(seed)
    height = min_height(problem, alignment)
    assert height == min_height_by_permutations(problem, alignment)
    assert height >= lower_bound(problem, alignment)
    assert min_height(problem, alignment, below=height) is None
    assert min_height(problem, alignment, below=height + 1) == height


@pytest.mark.parametrize("seed", range(80))
def test_proof_does_not_lean_on_the_bound_or_on_guesses(seed: int) -> None:
    problem, alignment = rectangles(seed)
    problem = tuple(sorted(problem))
    height = min_height_by_permutations(problem, alignment)
    assert Search(problem, alignment, bound=0, below=height).run(guess=False) is None
    found = Search(problem, alignment, bound=0, below=height + 1).run(guess=False)
    assert found is not None
    assert found[0] == height


@pytest.mark.parametrize("seed", range(80))
def test_offsets_are_a_packing(seed: int) -> None:
    problem, alignment = rectangles(seed)
    found = offsets(problem, alignment)
    assert max(o + r[2] for o, r in zip(found, problem, strict=True)) == min_height(
        problem, alignment
    )
    assert all(offset % alignment == 0 for offset in found)
    for i, (a, one) in enumerate(zip(found, problem, strict=True)):
        for b, other in zip(found[:i], problem[:i], strict=True):
            together = one[0] < other[1] and other[0] < one[1]
            assert not together or a + one[2] <= b or b + other[2] <= a


def test_only_the_highest_saves_its_padding() -> None:
    # 5 and 3 bytes at once, aligned to 4: 5 takes 8, so 8 + 3; or 3 takes 4, so 4 + 5.
    assert min_height(((0, 2, 5), (0, 2, 3)), 4) == 9
    assert lower_bound(((0, 2, 5), (0, 2, 3)), 4) == 9
    assert min_height((), 16) == 0


def test_what_takes_no_bytes_is_in_nobodys_way() -> None:
    solid = ((0, 6, 12), (1, 5, 1), (2, 3, 12), (3, 5, 8), (4, 6, 5), (5, 6, 9))
    assert min_height(solid, 1) == 26
    with_tokens = (*solid[:3], (2, 6, 0), *solid[3:], (5, 7, 0))
    assert min_height(with_tokens, 1) == 26
    found = offsets(with_tokens, 1)
    assert (found[3], found[-1]) == (0, 0)
    assert max(o + size for o, (_, _, size) in zip(found, with_tokens, strict=True)) == 26
    assert min_height(((0, 2, 0),), 8) == 0
