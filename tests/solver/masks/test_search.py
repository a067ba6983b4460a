from __future__ import annotations

from dataclasses import replace

import pytest

from memplan.solver.bounds import lower_bound
from memplan.solver.clock import Clock
from memplan.solver.instance import Instance
from memplan.solver.masks.search import most_important, raise_layers, search_masks
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.techniques import Techniques
from tests.solver.problems import PLENTY, accepted_plan, instance_of
from tests.support.hand_graphs import two_layers


def pursue(budget: int, *without: str) -> Pursuit:
    instance = instance_of(
        two_layers(), budget, update="auto", slice_divisors=(4, 2), criterion="uniform"
    )
    side = Side(4, instance, lower_bound(instance))
    clock = Clock()
    pursuit = Pursuit(
        instance.request,
        Techniques.without(*without),
        Reporter(None),
        clock.now() + 2.0,
        clock,
        [side],
    )
    search_masks(pursuit, side, 0.8)
    return pursuit


def test_with_plenty_everything_is_updated() -> None:
    pursuit = pursue(PLENTY)
    assert pursuit.best is not None
    assert -pursuit.best.worth.minus_importance == 1_000_000


def test_where_everything_is_updated_nothing_is_estimated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pursuit = pursue(PLENTY)
    before = pursuit.best
    monkeypatch.setattr(Side, "memory_estimate", None)  # calling it fails
    raise_layers(pursuit, pursuit.sides[0], pursuit.clock.now() + 60.0)
    assert pursuit.best is before is not None


def test_under_a_budget_a_part_is_updated_and_the_plan_checks() -> None:
    for without in ((), ("mask_model",)):
        pursuit = pursue(650, *without)
        assert pursuit.best is not None
        assert 0 < -pursuit.best.worth.minus_importance < 1_000_000
        assert pursuit.best.worth.arena_bytes <= 650
        accepted_plan_of_choice(pursuit)


def accepted_plan_of_choice(pursuit: Pursuit) -> None:
    """The plan is checked under the mask that was found, as if the user had given it."""
    best = pursuit.best
    assert best is not None
    mask = tuple(best.instance.mask().values())
    asked = best.instance.request.model_copy(update={"update": mask})
    instance = replace(best.instance, request=asked)
    accepted_plan(replace(best, table=replace(best.table, instance=instance)))


def test_too_little_gives_no_plan() -> None:
    assert pursue(100).best is None


def two_layers_to_choose() -> Instance:
    return instance_of(
        two_layers(), PLENTY, update="auto", slice_divisors=(4, 2), criterion="uniform"
    )


def test_the_most_important_mask_is_everything() -> None:
    instance = two_layers_to_choose()
    mask = most_important(instance)
    assert mask is not None
    assert set(mask) == {choice.layer for choice in instance.choices}
    units = {
        (choice.layer, option): units
        for choice in instance.choices
        for option, units in zip(choice.options, choice.units, strict=True)
    }
    assert sum(units[layer, option] for layer, option in mask.items()) == 1_000_000


def test_where_two_options_are_worth_the_most_there_is_no_such_mask() -> None:
    instance = two_layers_to_choose()
    first, *others = instance.choices
    alike = replace(first, units=(max(first.units),) * len(first.units))
    assert most_important(replace(instance, choices=(alike, *others))) is None
