"""The complete search against brute force, with every combination of its switches."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memplan.solver.packing import Rectangle
from memplan.solver.packing.depth_first import EXHAUSTED, FOUND, LIMIT, Rules, search
from memplan.solver.packing.flat import flatten
from tests.solver.packing.instances import cut_up, random_problem
from tests.solver.packing.test_pack import GAP, HARD, assert_apart
from tests.support.exact_packing import min_height

ALL = Rules(*(True,) * len(Rules._fields))


def run(
    rectangles: list[Rectangle],
    capacity: int,
    rules: Rules = ALL,
    alignments: list[int] | None = None,
    node_limit: int = 10**7,
    seed: int | None = None,
) -> tuple[int, list[int]]:
    flat = flatten(rectangles, alignments or [1] * len(rectangles))
    count = len(rectangles)
    rank = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    outcome, nodes, offsets = search(
        flat,
        flat.highest(rectangles, capacity),
        rank.astype(np.int64),
        rules,
        node_limit,
        np.zeros(count, np.int64),
        np.zeros(1, np.int64),
    )
    assert nodes <= node_limit
    return outcome, [int(offset) * flat.unit for offset in offsets]


def assert_packed(
    rectangles: list[Rectangle], capacity: int, result: tuple[int, list[int]]
) -> None:
    outcome, offsets = result
    assert outcome == FOUND
    assert_apart(rectangles, offsets)
    assert max(o + r.size for o, r in zip(offsets, rectangles, strict=True)) <= capacity


@pytest.mark.parametrize("switches", [*product((False, True), repeat=len(Rules._fields))])
def test_every_combination_finds_the_optimum_and_proves_it(switches: tuple[bool, ...]) -> None:
    rules = Rules(*switches)
    for number in range(12):
        rectangles = random_problem(number)
        least = min_height(tuple(rectangles), 1)
        assert least is not None
        assert_packed(rectangles, least, run(rectangles, least, rules, seed=number))
        assert run(rectangles, least - 1, rules, seed=number)[0] == EXHAUSTED
    gap = [Rectangle(*r) for r in GAP]
    assert run(gap, 11, rules)[0] == EXHAUSTED
    assert_packed(gap, 12, run(gap, 12, rules))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda start, length, size: Rectangle(start, start + length, size),
            st.integers(0, 9),
            st.integers(1, 6),
            st.integers(1, 9),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 99),
)
def test_alignment_against_brute_force(
    rectangles: list[Rectangle], alignment: int, seed: int
) -> None:
    alignments = [alignment] * len(rectangles)
    least = min_height(tuple(rectangles), alignment)
    assert least is not None
    packed = run(rectangles, least, alignments=alignments, seed=seed)
    assert_packed(rectangles, least, packed)
    assert all(offset % alignment == 0 for offset in packed[1])
    assert run(rectangles, least - 1, alignments=alignments, seed=seed)[0] == EXHAUSTED


def least_by_trying_all(rectangles: list[Rectangle], alignments: list[int]) -> int:
    """Return the least height, trying every combination of offsets."""
    top = sum(r.size + a for r, a in zip(rectangles, alignments, strict=True))
    best = top
    choices = [range(0, top, alignment) for alignment in alignments]
    for offsets in product(*choices):
        height = max(o + r.size for o, r in zip(offsets, rectangles, strict=True))
        if height < best and all(
            a.end <= b.start or b.end <= a.start or o + a.size <= p or p + b.size <= o
            for i, (a, o) in enumerate(zip(rectangles, offsets, strict=True))
            for b, p in zip(rectangles[:i], offsets[:i], strict=True)
        ):
            best = height
    return best


@pytest.mark.parametrize("seed", range(20))
def test_alignments_of_their_own(seed: int) -> None:
    rectangles = random_problem(seed, 4)
    alignments = [(1, 2, 4, 3)[(seed + i) % 4] for i in range(4)]
    least = least_by_trying_all(rectangles, alignments)
    packed = run(rectangles, least, alignments=alignments, seed=seed)
    assert_packed(rectangles, least, packed)
    assert all(o % a == 0 for o, a in zip(packed[1], alignments, strict=True))
    assert run(rectangles, least - 1, alignments=alignments, seed=seed)[0] == EXHAUSTED


def test_independent_parts_are_searched_apart() -> None:
    # The gap problem thrice, one after the other, under one buffer that bridges them: without
    # decomposition the first two would be searched again for every failure of the third.
    copies = [Rectangle(a + 7 * k, b + 7 * k, size) for k in range(3) for a, b, size in GAP]
    copies.append(Rectangle(0, 21, 1))
    assert run(copies, 12, node_limit=2_000)[0] == EXHAUSTED
    assert_packed(copies, 13, run(copies, 13, node_limit=2_000))


@pytest.mark.parametrize("seed", range(4))
def test_cut_up_rectangles_are_put_together(seed: int) -> None:
    rectangles = cut_up(seed, 40, 30, 200)
    assert_packed(rectangles, 200, run(rectangles, 200))
    assert run(rectangles, 199)[0] == EXHAUSTED


@pytest.mark.parametrize("goal", HARD)
def test_hard_instances(goal: int) -> None:
    rectangles = [Rectangle(*r) for r in HARD[goal]]
    assert_packed(rectangles, goal, run(rectangles, goal))


def test_limit_and_halt() -> None:
    rectangles = cut_up(1, 40, 30, 200)
    assert run(rectangles, 200, node_limit=3)[0] == LIMIT
    flat = flatten(rectangles, [1] * 40)
    outcome, nodes, _ = search(
        flat,
        flat.highest(rectangles, 200),
        np.arange(40),
        ALL,
        10**7,
        np.zeros(40, np.int64),
        np.ones(1, np.int64),
    )
    assert (outcome, nodes) == (LIMIT, 0)


def test_conflicts_are_counted() -> None:
    rectangles = [Rectangle(*r) for r in GAP]
    flat = flatten(rectangles, [1] * len(GAP))
    weight = np.zeros(len(GAP), np.int64)
    highest = flat.highest(rectangles, 11)
    search(flat, highest, np.arange(len(GAP)), ALL, 10**6, weight, np.zeros(1, np.int64))
    assert weight.sum() > 0
