from __future__ import annotations

import random

import pytest

from memplan.ir.request import LayerUpdate
from memplan.solver.masks.estimate import MemoryEstimate, OptionCost
from memplan.solver.masks.exchange import exchanges, least_loss, raises_of

Mask = dict[str, LayerUpdate]


def option(layer: str, channels: int, importance: int, own: int, reach: int) -> OptionCost:
    update = LayerUpdate(layer=layer, weight="input", channels=tuple(range(channels)))
    return OptionCost(update, importance, own, reach)


#: The small one is worth most per byte; the early one can be reached only with many bytes.
EARLY = (option("early", 1, 50, 5, 100), option("early", 2, 90, 20, 100))
MIDDLE = (option("middle", 1, 30, 10, 60), option("middle", 2, 45, 30, 60))
LATE = (option("late", 1, 10, 1, 20), option("late", 2, 12, 40, 20))
ESTIMATE = MemoryEstimate(fixed_bytes=10, layers=(EARLY, (), MIDDLE, LATE))


def mask_of(*options: OptionCost) -> Mask:
    return {each.update.layer: each.update for each in options}


def random_estimate(seed: int) -> tuple[MemoryEstimate, Mask]:
    rng = random.Random(seed)
    layers = []
    for number in range(rng.randint(1, 6)):
        reach, own, importance, options = rng.randint(0, 40), 0, 0, []
        for channels in range(1, rng.randint(2, 4)):
            own += rng.randint(0, 20)
            importance += rng.randint(1, 20)
            options.append(option(f"l{number}", channels, importance, own, reach))
        layers.append(tuple(options))
    chosen = [rng.choice(layer) for layer in layers if rng.random() < 0.6]
    return MemoryEstimate(5, tuple(layers)), mask_of(*(chosen or [layers[0][0]]))


def importance_of(estimate: MemoryEstimate, mask: Mask) -> int:
    return sum(each.importance for each in estimate.chosen(mask).values())


def test_raises_are_ordered_by_what_a_byte_gains() -> None:
    raises = raises_of(ESTIMATE, mask_of(MIDDLE[0]))
    # Of few bytes, where all gains per byte would be large, only the gain counts.
    assert [(added, each.update) for added, each in raises] == [
        (40 + 20, EARLY[1].update),
        (40 + 5, EARLY[0].update),
        (20, MIDDLE[1].update),
        (40, LATE[1].update),
        (1, LATE[0].update),
    ]
    assert raises_of(ESTIMATE, mask_of(EARLY[1], MIDDLE[1], LATE[1])) == []


def test_the_cheapest_layer_makes_room() -> None:
    mask = mask_of(EARLY[1], MIDDLE[0], LATE[1])
    # 2 of importance for 39 bytes; then 10 for 1 byte is less a loss per byte than 30 for 10.
    lowered = least_loss(ESTIMATE, mask)
    assert lowered == mask_of(EARLY[1], MIDDLE[0], LATE[0])
    assert least_loss(ESTIMATE, mask_of(EARLY[0]), kept="early") is None
    # Without the layer that takes most to reach that is not needed, either.
    assert least_loss(ESTIMATE, mask_of(EARLY[0], LATE[0])) == mask_of(LATE[0])


def test_an_exchange_of_two() -> None:
    mask = mask_of(EARLY[0], LATE[1])
    found = {each.update: trial for each, trial in exchanges(ESTIMATE, mask)}
    # 20 bytes more for the early layer, out of the 39 that the late one has for 2 of importance.
    assert found[EARLY[1].update] == mask_of(EARLY[1], LATE[0])
    assert found[MIDDLE[0].update] == mask_of(EARLY[0], MIDDLE[0], LATE[0])
    others = {each.update: trial for each, trial in exchanges(ESTIMATE, mask, {EARLY[1].update})}
    assert others == {update: m for update, m in found.items() if update != EARLY[1].update}


@pytest.mark.parametrize("seed", range(200))
def test_exchanges_gain_importance_at_no_more_bytes(seed: int) -> None:
    estimate, mask = random_estimate(seed)
    for raised, trial in exchanges(estimate, mask):
        assert trial[raised.update.layer] == raised.update
        assert importance_of(estimate, trial) > importance_of(estimate, mask)
        assert estimate.of(trial) <= estimate.of(mask)
        for layer, update in trial.items():
            if layer != raised.update.layer:
                lower, before = ({layer: update}, {layer: mask[layer]})
                assert importance_of(estimate, lower) <= importance_of(estimate, before)


@pytest.mark.parametrize("seed", range(200))
def test_what_a_raise_adds_is_what_the_estimate_says(seed: int) -> None:
    estimate, mask = random_estimate(seed)
    for added, each in raises_of(estimate, mask):
        trial = {**mask, each.update.layer: each.update}
        assert importance_of(estimate, trial) > importance_of(estimate, mask)
        assert estimate.of(trial) - estimate.of(mask) == added


@pytest.mark.parametrize("seed", range(200))
def test_the_least_loss_of_all(seed: int) -> None:
    estimate, mask = random_estimate(seed)
    lowered = least_loss(estimate, mask)
    trials = []
    for layer in mask:
        rest = {name: update for name, update in mask.items() if name != layer}
        options = next(each for each in estimate.layers if each and each[0].update.layer == layer)
        smaller = [{**mask, layer: each.update} for each in options]
        for trial in (*smaller, *([rest] if rest else [])):
            loss = importance_of(estimate, mask) - importance_of(estimate, trial)
            freed = estimate.of(mask) - estimate.of(trial)
            if loss > 0 and freed > 0:
                trials.append(loss / freed)
    if lowered is None:
        assert not trials
    else:
        loss = importance_of(estimate, mask) - importance_of(estimate, lowered)
        assert loss / (estimate.of(mask) - estimate.of(lowered)) == min(trials)
