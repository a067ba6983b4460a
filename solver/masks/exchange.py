"""Changes of an update mask: one layer less, one layer more, or one more for others less.

All by the additive estimate of memory (``memplan.solver.masks.estimate``), and small: an exact
choice under the estimate is the knapsack's, but what the estimate says of a mask for which a plan
was found is not what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from memplan.ir.request import LayerUpdate
from memplan.solver.masks.estimate import MemoryEstimate, OptionCost

__all__ = ["exchanges", "least_loss", "raises_of"]

Mask = dict[str, LayerUpdate]

#: Added bytes count as so many at least: a small gain for hardly any bytes does not come first.
_FEW_BYTES = 64


def raises_of(
    estimate: MemoryEstimate, mask: Mapping[str, LayerUpdate]
) -> list[tuple[int, OptionCost]]:
    """Return the options of single layers that are worth more than what ``mask`` gives them.

    Each with the bytes that the estimate adds; those of the most importance per byte come first.
    """
    now = estimate.chosen(mask)
    reach = max((option.reach_bytes for option in now.values()), default=0)
    raises = []
    for number, option in enumerate(option for layer in estimate.layers for option in layer):
        old = now.get(option.update.layer)
        more = option.importance - (old.importance if old else 0)
        if more > 0:
            added = option.own_bytes - (old.own_bytes if old else 0)
            added += max(0, option.reach_bytes - reach)
            raises.append((-more / max(_FEW_BYTES, added), number, added, option))
    raises.sort(key=lambda entry: entry[:2])
    return [(added, option) for _, _, added, option in raises]


def exchanges(
    estimate: MemoryEstimate,
    mask: Mapping[str, LayerUpdate],
    but: Set[LayerUpdate] = frozenset(),
) -> Iterator[tuple[OptionCost, Mask]]:
    """Yield masks of more importance that are estimated at no more bytes than ``mask`` is.

    In each, one layer is updated more, and as many others less as that takes.

    Args:
        but: updates for which nothing is exchanged.
    """
    aim = estimate.of(mask)
    importance = _importance(estimate, mask)
    for added, option in raises_of(estimate, mask):
        if added <= 0 or option.update in but:  # of the first there is nothing to make room for
            continue
        layer = option.update.layer
        trial: Mask | None = {**mask, layer: option.update}
        while trial is not None and estimate.of(trial) > aim:
            trial = least_loss(estimate, trial, layer)
            if trial is not None and _importance(estimate, trial) <= importance:
                trial = None
        if trial is not None:
            yield option, trial


def least_loss(
    estimate: MemoryEstimate, mask: Mapping[str, LayerUpdate], kept: str | None = None
) -> Mask | None:
    """Return the mask in which one layer is updated less, or not at all; None: none can be.

    The one that loses the least importance per byte.

    Args:
        kept: a layer that stays as it is.
    """
    options = {layer[0].update.layer: layer for layer in estimate.layers if layer}
    chosen = estimate.chosen(mask)
    reaches = sorted((option.reach_bytes for option in chosen.values()), reverse=True)
    reaches += [0, 0]
    best: tuple[float, str, LayerUpdate | None] | None = None
    for layer, now in chosen.items():
        if layer == kept:
            continue
        others = reaches[1] if now.reach_bytes == reaches[0] else reaches[0]
        trials: list[tuple[int, int, int, LayerUpdate | None]] = [
            (each.importance, each.own_bytes, each.reach_bytes, each.update)
            for each in options[layer]
            if each.importance < now.importance
        ]
        if len(mask) > 1:
            trials.append((0, 0, 0, None))
        for importance, own_bytes, reach_bytes, update in trials:
            freed = now.own_bytes - own_bytes + reaches[0] - max(others, reach_bytes)
            loss = now.importance - importance
            if freed > 0 and (best is None or loss / freed < best[0]):
                best = (loss / freed, layer, update)
    if best is None:
        return None
    _, layer, update = best
    rest = {name: other for name, other in mask.items() if name != layer}
    return rest if update is None else {**mask, layer: update}


def _importance(estimate: MemoryEstimate, mask: Mapping[str, LayerUpdate]) -> int:
    return sum(option.importance for option in estimate.chosen(mask).values())
