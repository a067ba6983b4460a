from __future__ import annotations

from itertools import product

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.masks.estimate import (
    MemoryEstimate,
    OptionCost,
    choose_mask,
    sampled_steps,
)


def option(layer: str, channels: int, importance: int, own: int, reach: int) -> OptionCost:
    update = LayerUpdate(layer=layer, weight="input", channels=tuple(range(channels)))
    return OptionCost(update, importance, own, reach)


#: The early layer is worth most, and reaching it takes most.
ESTIMATE = MemoryEstimate(
    fixed_bytes=10,
    layers=(
        (option("early", 1, 50, 5, 100), option("early", 2, 90, 20, 100)),
        (option("middle", 1, 30, 10, 60), option("middle", 2, 45, 30, 60)),
        (option("late", 1, 10, 1, 20), option("late", 2, 12, 40, 20)),
    ),
)


def every_mask() -> list[tuple[OptionCost, ...]]:
    choices = product(*((None, *layer) for layer in ESTIMATE.layers))
    return [tuple(o for o in chosen if o is not None) for chosen in choices if any(chosen)]


def bytes_of(chosen: tuple[OptionCost, ...]) -> int:
    return 10 + max(o.reach_bytes for o in chosen) + sum(o.own_bytes for o in chosen)


def test_the_knapsack_is_exact() -> None:
    fitting = 0
    for budget in range(25, 220, 5):
        mask = choose_mask(ESTIMATE, budget)
        worths = [
            (sum(o.importance for o in chosen), -bytes_of(chosen))
            for chosen in every_mask()
            if bytes_of(chosen) <= budget
        ]
        chosen = tuple(o for layer in ESTIMATE.layers for o in layer if o.update in mask.values())
        assert ESTIMATE.of(mask) == bytes_of(chosen)
        if worths:
            fitting += 1
            assert (sum(o.importance for o in chosen), -bytes_of(chosen)) == max(worths)
        else:
            assert bytes_of(chosen) == min(map(bytes_of, every_mask()))
    assert 5 < fitting < 39


STEPS = [90] * 5 + [70] * 22 + [65] + [40] * 60 + [10] * 12


@pytest.mark.parametrize("samples", [1, 2, 3, 10, 24, 99, 100, 1000, None])
def test_steps_are_found_with_few_samples(samples: int | None) -> None:
    measured: list[int] = []

    def measure(place: int) -> int:
        measured.append(place)
        return STEPS[place]

    values = sampled_steps(len(STEPS), samples, measure, 100, {})
    most = 100 if samples is None else min(samples, 100)
    assert len(measured) == len(set(measured)) <= most
    assert all(values[place] == STEPS[place] for place in measured)
    # What falls is nowhere estimated too low; a quarter of the samples shows every step.
    assert all(value >= step for value, step in zip(values, STEPS, strict=True))
    if most >= 24:
        assert values == STEPS


def test_nothing_is_measured_of_nothing() -> None:
    assert sampled_steps(0, 5, lambda _: 1, 100, {}) == []
