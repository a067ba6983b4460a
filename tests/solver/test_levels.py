from __future__ import annotations

import pytest

from memplan.solver.levels import Proof, certify_levels
from memplan.solver.solution import Worth

FOUND = Worth(-70, 1_000, 400)


def test_optimal_where_every_level_meets_its_bound() -> None:
    levels, status = certify_levels(FOUND, Proof(70, 1_000, 400), 300, choice=True)
    assert status == "optimal"
    assert [(level.name, level.bound, level.gap) for level in levels] == [
        ("importance", 70, 0.0),
        ("time_ns", 1_000, 0.0),
        ("arena_bytes", 400, 0.0),
    ]


def test_the_byte_bound_alone_may_close_the_last_level() -> None:
    levels, status = certify_levels(FOUND, Proof(70, 1_000, None), 400, choice=True)
    assert status == "optimal"
    assert levels[-1].bound == 400


@pytest.mark.parametrize("importance", [70, 71, None])
@pytest.mark.parametrize("time_ns", [1_000, 990, None])
@pytest.mark.parametrize("arena_bytes", [400, 399, None])
def test_never_optimal_with_a_gap(
    importance: int | None, time_ns: int | None, arena_bytes: int | None
) -> None:
    proof = Proof(importance, time_ns, arena_bytes)
    levels, status = certify_levels(FOUND, proof, 300, choice=True)
    closed = (importance, time_ns, arena_bytes) == (70, 1_000, 400)
    assert (status == "optimal") == closed
    assert all(level.bound == level.value for level in levels) == closed


def test_lower_levels_have_no_bound_while_a_higher_one_is_open() -> None:
    levels, status = certify_levels(FOUND, Proof(80, 1_000, 400), 300, choice=True)
    assert status == "feasible"
    importance, time_ns, arena = levels
    assert importance.gap == pytest.approx(10 / 70)
    # 1,000 ns holds for plans of importance 80, which are no faster than others may be.
    assert (time_ns.bound, time_ns.gap) == (None, None)
    # The byte bound holds for every plan.
    assert (arena.bound, arena.gap) == (300, 0.25)


def test_a_given_mask_has_no_importance_level() -> None:
    levels, status = certify_levels(FOUND, Proof(None, 1_000, 400), 0, choice=False)
    assert [level.name for level in levels] == ["time_ns", "arena_bytes"]
    assert status == "optimal"
