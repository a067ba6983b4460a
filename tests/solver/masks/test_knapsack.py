from __future__ import annotations

import random
from itertools import product

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.masks.estimate import MemoryEstimate, OptionCost, choose_mask
from memplan.solver.masks.knapsack import fill, most_value

Groups = list[list[tuple[int, int]]]


def random_groups(seed: int) -> Groups:
    chance = random.Random(seed)
    return [
        [(chance.randint(0, 30), chance.randint(0, 40)) for _ in range(chance.randint(0, 3))]
        for _ in range(6)
    ]


def best_value(groups: Groups, capacity: int) -> int:
    return max(
        sum(value for _, value in chosen)
        for chosen in product(*([(0, 0), *entries] for entries in groups))
        if sum(weight for weight, _ in chosen) <= capacity
    )


@pytest.mark.parametrize("seed", range(40))
def test_it_fits_and_misses_less_than_one_entry(seed: int) -> None:
    groups = random_groups(seed)
    capacity = 45
    taken = fill(groups, capacity)
    chosen = [entries[n] for entries, n in zip(groups, taken, strict=True) if n >= 0]
    assert sum(weight for weight, _ in chosen) <= capacity
    value = sum(value for _, value in chosen)
    largest = max(value for entries in groups for _, value in entries)
    assert best_value(groups, capacity) - largest < value <= best_value(groups, capacity)


def test_everything_is_taken_where_there_is_room() -> None:
    groups = random_groups(3)
    taken = fill(groups, 1000)
    for entries, number in zip(groups, taken, strict=True):
        assert not entries or entries[number][1] == max(value for _, value in entries)


def test_nothing_is_taken_without_room() -> None:
    assert fill([[(1, 5)], [(2, 9)]], 0) == [-1, -1]


def test_masks_of_many_layers_are_within_the_budget() -> None:
    chance = random.Random(0)
    estimate = MemoryEstimate(
        100,
        tuple(
            tuple(
                OptionCost(
                    LayerUpdate(layer=f"layer{number}", bias=True, weight=weight),
                    chance.randint(1, 100) + (50 if weight == "whole" else 0),
                    chance.randint(1, 100) + (80 if weight == "whole" else 0),
                    1000 - number,
                )
                for weight in ("none", "whole")
            )
            for number in range(150)
        ),
    )
    worth = {option.update: option.importance for layer in estimate.layers for option in layer}
    before = 0
    for budget in (1500, 3000, 8000, 20_000):
        mask = choose_mask(estimate, budget)
        assert estimate.of(mask) <= budget
        importance = sum(worth[update] for update in mask.values())
        assert importance > before
        before = importance
    least = choose_mask(estimate, 0)
    assert estimate.of(least) == min(
        100 + option.reach_bytes + option.own_bytes for layer in estimate.layers for option in layer
    )


@pytest.mark.parametrize("seed", range(60))
def test_no_choice_is_worth_more_than_the_relaxation(seed: int) -> None:
    chance = random.Random(seed)
    groups = [
        [(chance.randint(0, 30), chance.randint(0, 40)) for _ in range(chance.randint(1, 4))]
        for _ in range(5)
    ]
    capacity = chance.choice((20, 45, 70))
    values = [
        sum(value for _, value in chosen)
        for chosen in product(*groups)
        if sum(weight for weight, _ in chosen) <= capacity
    ]
    found = most_value(groups, capacity)
    if not values:
        assert found == -1
    else:
        # What is broken off is less than the most valuable step.
        largest = max(value for entries in groups for _, value in entries)
        assert max(values) <= found <= max(values) + largest


def test_the_relaxation_takes_a_part_of_the_last_step() -> None:
    groups = [[(0, 0), (10, 50)], [(0, 0), (10, 40)]]
    assert most_value(groups, 15) == 50 + 20
    assert most_value(groups, 20) == 90
    assert most_value(groups, -1) == -1
    assert most_value([[(5, 7)]], 4) == -1
