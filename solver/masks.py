"""Update masks to try: from importance and bytes alone, and by CP-SAT over a fixed order."""

from __future__ import annotations

from memplan.ir.request import LayerUpdate
from memplan.solver.instance import Instance

__all__ = ["candidate_masks"]

Mask = dict[str, LayerUpdate]


def candidate_masks(
    instance: Instance, seconds: float, seed: int, *, use_model: bool
) -> list[Mask]:
    """Return masks to try, those of most importance first, the cheapest last."""
    if instance.fixed:
        return [instance.mask()]
    masks = _by_density(instance)
    if use_model and seconds > 0:
        from memplan.solver.mask_model import masks_by_model

        masks = masks_by_model(instance, seconds, seed) + masks
    gain = {
        (choice.layer, option): units
        for choice in instance.choices
        for option, units in zip(choice.options, choice.units, strict=True)
        if option is not None
    }
    unique: list[Mask] = []
    for mask in masks:
        if mask and mask not in unique:
            unique.append(mask)
    unique.sort(key=lambda m: -sum(gain[layer, option] for layer, option in m.items()))
    return unique


def _by_density(instance: Instance) -> list[Mask]:
    """Return a ladder of masks: options added in the order of importance per byte."""
    stores: dict[int, list[int]] = {}
    for store in instance.stores:
        if store.choice >= 0 and len(store.size_bytes) > 1:
            sums = stores.setdefault(store.choice, [0] * len(store.size_bytes))
            for option, size in enumerate(store.size_bytes):
                sums[option] += size
    steps = []
    for index, choice in enumerate(instance.choices):
        for o, (option, units) in enumerate(zip(choice.options, choice.units, strict=True)):
            if option is not None:
                size = stores.get(index, [0] * len(choice.options))[o]
                steps.append((units / (size + 64), index, o))
    steps.sort(reverse=True)
    chosen: dict[int, int] = {}
    ladder: list[Mask] = []
    every = max(1, len(steps) // 12)
    for number, (_, index, o) in enumerate(steps):
        if instance.choices[index].units[o] >= instance.choices[index].units[chosen.get(index, 0)]:
            chosen[index] = o
        if number % every == 0 or number == len(steps) - 1:
            mask: Mask = {}
            for i, best in chosen.items():
                option = instance.choices[i].options[best]
                if option is not None:
                    mask[instance.choices[i].layer] = option
            ladder.append(mask)
    return ladder
