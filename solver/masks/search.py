"""Which layers and channels to update, where the request leaves it open: most importance first.

Masks come from a knapsack under an additive estimate of memory, at some inflation of the
budget, and on small graphs from the mask model.  The most important one for which a plan is
found is then improved layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import Pursuit, Side, cannot_improve, carry_over, try_mask
from memplan.solver.bounds import lower_bound
from memplan.solver.build_instance import fix_mask
from memplan.solver.instance import Instance
from memplan.solver.masks.estimate import MemoryEstimate, choose_mask
from memplan.solver.masks.model import masks_by_model

__all__ = ["is_hopeless", "most_important", "raise_layers", "search_masks"]

Mask = dict[str, LayerUpdate]
Attempt = Callable[[Pursuit, Side, Mask, float], bool]

#: Graphs of at most so many operations get the mask model, which is slow on larger ones.
MASK_MODEL_WORKS = 200
#: Different masks that are tried in the bisection.
_PROBES = 8


def search_masks(pursuit: Pursuit, side: Side, seconds: float) -> None:
    """Look for the mask of most importance for which a plan fits, at one micro-batch."""
    until = pursuit.clock.now() + seconds
    gain = _gains(side.instance)
    estimate = side.memory_estimate()
    _search_inflation(pursuit, side, estimate, until)
    if pursuit.techniques.mask_model and len(side.instance.works) <= MASK_MODEL_WORKS:
        left = max(0.0, until - pursuit.clock.now())
        masks = masks_by_model(side.instance, 0.4 * left, pursuit.request.seed, pursuit.clock)
        for mask in sorted(masks, key=lambda mask: -_importance(mask, gain)):
            if is_hopeless(pursuit, side, mask) or pursuit.clock.stop():
                continue
            if try_mask(pursuit, side, mask, 0.1 * left):
                break
    raise_layers(pursuit, side, until)


def _search_inflation(pursuit: Pursuit, side: Side, estimate: MemoryEstimate, until: float) -> None:
    """Bisect how much more than the budget the estimate may say.

    The estimate knows neither recomputation nor addresses: a mask that seems too large may fit,
    and one that seems to fit may not.
    """
    budget = pursuit.request.budget_bytes
    probe_seconds = max(0.2, 0.08 * (until - pursuit.clock.now()))
    fitting, failing, inflation = 0.0, 0.0, 1.0
    known: dict[frozenset[tuple[str, LayerUpdate]], bool] = {}
    for _ in range(4 * _PROBES):
        if len(known) == _PROBES:
            return
        if pursuit.clock.stop() or (pursuit.clock.now() > until and pursuit.best is not None):
            return
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        mask = choose_mask(estimate, int(budget * inflation))
        key = frozenset(mask.items())
        if key not in known:
            # A mask that is worth less than the incumbent says nothing against larger ones.
            known[key] = cannot_improve(pursuit, side, mask) or (
                not _too_large(pursuit, side, mask) and try_mask(pursuit, side, mask, probe_seconds)
            )
        if known[key]:
            fitting = inflation
        else:
            failing = inflation
        if not failing:
            inflation *= 1.5
        elif not fitting:
            inflation *= 0.7
        else:
            inflation = (fitting * failing) ** 0.5


def most_important(instance: Instance) -> Mask | None:
    """Return the mask of most importance; None: there are several."""
    mask = {}
    for choice in instance.choices:
        most = max(choice.units)
        if choice.units.count(most) > 1:
            return None
        option = choice.options[choice.units.index(most)]
        if option is not None:
            mask[choice.layer] = option
    return mask or None


def is_hopeless(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    """Tell whether no plan of this mask is better than the incumbent, or none fits."""
    return cannot_improve(pursuit, side, mask) or _too_large(pursuit, side, mask)


def _too_large(pursuit: Pursuit, side: Side, mask: Mask) -> bool:
    bound = lower_bound(fix_mask(side.instance, mask), 0.02, pursuit.clock)
    return bound.budget_bytes > pursuit.request.budget_bytes


def raise_layers(pursuit: Pursuit, side: Side, until: float, attempt: Attempt = try_mask) -> None:
    """Raise one layer's option after the other while a plan is found.

    First those of the most importance per byte that the estimate adds; and of all of them first
    those for which the incumbent's schedule does as it is.

    Args:
        attempt: looks for a plan of a mask for some seconds.
    """
    tried: set[tuple[str, LayerUpdate]] = set()
    in_vain: set[tuple[str, LayerUpdate]] = set()
    while pursuit.clock.now() < until and not pursuit.clock.stop():
        best = pursuit.best
        if best is None or best.instance.samples != side.samples:
            return
        mask = best.instance.mask()
        for layer, option in _raises(side, mask, tried | in_vain):
            if pursuit.clock.over(until):
                return
            in_vain.add((layer, option))
            if carry_over(pursuit, side, {**mask, layer: option}):
                break
        else:
            if not _raise_by_search(pursuit, side, mask, tried, until, attempt):
                return
            in_vain.clear()


def _raise_by_search(
    pursuit: Pursuit,
    side: Side,
    mask: Mask,
    tried: set[tuple[str, LayerUpdate]],
    until: float,
    attempt: Attempt,
) -> bool:
    for layer, option in _raises(side, mask, tried):
        if pursuit.clock.over(until):
            return False
        tried.add((layer, option))
        trial = {**mask, layer: option}
        if _too_large(pursuit, side, trial):
            continue
        pursuit.tell(f"update mask, micro-batch {side.samples}")
        if attempt(pursuit, side, trial, max(0.05, 0.05 * (until - pursuit.clock.now()))):
            return True
    return False


def _raises(
    side: Side, mask: Mask, tried: Set[tuple[str, LayerUpdate]]
) -> list[tuple[str, LayerUpdate]]:
    """Return what of one layer may be updated more than by ``mask``, the best first."""
    gain = _gains(side.instance)
    estimate = side.memory_estimate()
    bytes_now = estimate.of(mask)
    raises = []
    for number, ((layer, option), units) in enumerate(gain.items()):
        more = units - _gain_of(mask, layer, gain)
        if more > 0 and (layer, option) not in tried:
            added = max(64, estimate.of({**mask, layer: option}) - bytes_now)
            raises.append((-more / added, layer, number, option))
    raises.sort(key=lambda entry: entry[:3])
    return [(layer, option) for _, layer, _, option in raises]


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
