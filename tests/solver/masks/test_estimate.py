from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from memplan.ir.device import Device, Rates, Region
from memplan.ir.request import LayerUpdate
from memplan.solver.masks import estimate as module
from memplan.solver.masks.estimate import (
    MemoryEstimate,
    OptionCost,
    choose_mask,
    estimate_memory,
    sampled_steps,
)
from tests.solver.problems import instance_of
from tests.support.hand_graphs import two_layers


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


SPIKES = [9_000] * 20 + [900] * 10 + [500, 700, 500, 500, 800] + [500] * 30


def test_samples_go_to_where_the_budget_matters() -> None:
    values = sampled_steps(len(SPIKES), 55, SPIKES.__getitem__, 2_000, {})
    assert values[20:] == SPIKES[20:]


def test_samples_go_elsewhere_only_then() -> None:
    places: list[int] = []

    def measure(place: int) -> int:
        places.append(place)
        return SPIKES[place] + 100 * (SPIKES[place] > 2_000) * place

    sampled_steps(len(SPIKES), 58, measure, 2_000, {})
    assert len(places) == 58
    # Behind the even ones, all that is near, or at the border, comes before what is far.
    is_near = [place >= 18 for place in places[29:]]
    assert is_near == sorted(is_near, reverse=True) and not all(is_near)
    # Where nothing is near, the largest steps are what there is to be known.
    far = [90_000] * 30 + [50_000] * 30
    assert sampled_steps(60, 20, far.__getitem__, 2_000, {}) == far


def test_what_was_measured_before_counts() -> None:
    known: dict[int, int] = {}
    sampled_steps(len(SPIKES), 10, SPIKES.__getitem__, 2_000, known)
    before = set(known)
    assert len(before) == 10
    again: list[int] = []

    def measure(place: int) -> int:
        again.append(place)
        return SPIKES[place]

    sampled_steps(len(SPIKES), 30, measure, 2_000, known)
    assert len(again) == 20 and before.isdisjoint(again)
    assert known == {place: SPIKES[place] for place in before | set(again)}


@pytest.mark.parametrize("weights", ["flash", "ram"])
def test_samples_are_told_apart_up_to_what_the_arena_may_have(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While the mask is open nobody knows what of the weights is frozen, so it plays no part.
    regions = [Region(name="ram", kind="ram", size_bytes=1000, reserved_bytes=100)]
    if weights == "flash":
        regions.append(Region(name="flash", kind="flash", size_bytes=4096))
    device = Device.model_validate(
        {
            "name": "board",
            "regions": tuple(regions),
            "rates": Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
            "weights": weights,
        }
    )
    asked: list[int] = []

    def sampled(count: int, samples: int | None, *rest: Any) -> list[int]:
        measure, most, known = rest
        asked.append(most)
        return sampled_steps(count, samples, measure, most, known)

    monkeypatch.setattr(module, "sampled_steps", sampled)
    for budget in (700, 5000):
        instance = instance_of(two_layers(), budget, update="auto", device=device)
        assert all(layer[0].reach_bytes for layer in estimate_memory(instance).layers)
    assert asked == [2 * 700, 2 * 900]
