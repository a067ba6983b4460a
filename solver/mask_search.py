"""Which layers and channels to update, where the request leaves it open: most importance first.

Masks come from a ladder by importance per byte and from the mask model.  The most important one
for which a plan is found is then improved layer by layer.
"""

from __future__ import annotations

import time

from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import Pursuit, Side, cannot_improve, try_mask
from memplan.solver.bounds import lower_bound
from memplan.solver.instance import Instance, fix_mask
from memplan.solver.mask_model import masks_by_model

__all__ = ["density_ladder", "search_masks"]

Mask = dict[str, LayerUpdate]


def search_masks(pursuit: Pursuit, side: Side, seconds: float) -> None:
    """Look for the mask of most importance for which a plan fits, at one micro-batch."""
    until = time.monotonic() + seconds
    gain = _gains(side.instance)
    masks = density_ladder(side.instance)
    if pursuit.techniques.mask_model:
        masks += masks_by_model(side.instance, 0.35 * seconds, pursuit.request.seed, pursuit.stop)
    unique = [mask for i, mask in enumerate(masks) if mask and mask not in masks[:i]]
    unique.sort(key=lambda mask: -_importance(mask, gain))
    slice_seconds = max(0.05, 0.4 * (until - time.monotonic()) / max(1, len(unique)))
    for mask in unique:
        if pursuit.stop() or (time.monotonic() > until and pursuit.best is not None):
            return
        if cannot_improve(pursuit, side, mask) or _too_large(pursuit, side, mask):
            continue
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        if try_mask(pursuit, side, mask, slice_seconds):
            break
    _improve(pursuit, side, until, gain)


def _too_large(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    bound = lower_bound(fix_mask(side.instance, mask), 0.02)
    return bound.budget_bytes > pursuit.request.budget_bytes


def _improve(
    pursuit: Pursuit, side: Side, until: float, gain: dict[tuple[str, LayerUpdate], int]
) -> None:
    """Raise one layer's option after the other while a plan is found, the largest gain first."""
    tried: set[tuple[str, LayerUpdate]] = set()
    while time.monotonic() < until and not pursuit.stop():
        best = pursuit.best
        if best is None or best.instance.samples != side.samples:
            return
        mask = best.instance.mask()
        raises = sorted(
            (
                (units - _gain_of(mask, layer, gain), layer, number, option)
                for number, ((layer, option), units) in enumerate(gain.items())
                if (layer, option) not in tried and mask.get(layer) != option
            ),
            key=lambda entry: (-entry[0], entry[1], entry[2]),
        )
        for more, layer, _, option in raises:
            if more <= 0 or time.monotonic() > until or pursuit.stop():
                return
            tried.add((layer, option))
            trial = {**mask, layer: option}
            if _too_large(pursuit, side, trial):
                continue
            pursuit.tell(f"update mask, micro-batch {side.samples}")
            if try_mask(pursuit, side, trial, max(0.05, 0.05 * (until - time.monotonic()))):
                break
        else:
            return


def _gains(instance: Instance) -> dict[tuple[str, LayerUpdate], int]:
    return {
        (choice.layer, option): units
        for choice in instance.choices
        for option, units in zip(choice.options, choice.units, strict=True)
        if option is not None
    }


def _gain_of(mask: Mask, layer: str, gain: dict[tuple[str, LayerUpdate], int]) -> int:
    return gain.get((layer, mask[layer]), 0) if layer in mask else 0


def _importance(mask: Mask, gain: dict[tuple[str, LayerUpdate], int]) -> int:
    return sum(gain[layer, option] for layer, option in mask.items())


def density_ladder(instance: Instance, rungs: int = 12) -> list[Mask]:
    """Return masks that grow: options added in the order of importance per persistent byte."""
    stores: dict[int, list[int]] = {}
    for store in instance.stores:
        if store.choice >= 0 and len(store.size_bytes) > 1:
            sums = stores.setdefault(store.choice, [0] * len(store.size_bytes))
            for o, size in enumerate(store.size_bytes):
                sums[o] += size
    steps = []
    for index, choice in enumerate(instance.choices):
        for o, (option, units) in enumerate(zip(choice.options, choice.units, strict=True)):
            if option is not None:
                size = stores.get(index, [0] * len(choice.options))[o]
                steps.append((units / (size + 64), index, o))
    steps.sort(reverse=True)
    chosen: dict[int, int] = {}
    ladder: list[Mask] = []
    every = max(1, len(steps) // rungs)
    for number, (_, index, rung) in enumerate(steps):
        worth = instance.choices[index].units
        if index not in chosen or worth[rung] >= worth[chosen[index]]:
            chosen[index] = rung
        if number % every == 0 or number == len(steps) - 1:
            ladder.append(
                {
                    instance.choices[i].layer: update
                    for i, best in chosen.items()
                    if (update := instance.choices[i].options[best]) is not None
                }
            )
    return ladder
