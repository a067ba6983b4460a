"""Which layers and channels to update, where the request leaves it open: most importance first.

Masks come from a knapsack under an additive estimate of memory, at some inflation of the
budget, and on small graphs from the mask model.  The most important one for which a plan is
found is then improved layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from memplan.ir.request import LayerUpdate
from memplan.solver.attempts import cannot_improve, carry_over, try_mask
from memplan.solver.bounds import exceeds
from memplan.solver.build_instance import fix_mask
from memplan.solver.instance import Instance
from memplan.solver.masks.estimate import MemoryEstimate, choose_mask
from memplan.solver.masks.exchange import exchanges, raises_of
from memplan.solver.masks.model import masks_by_model
from memplan.solver.pursuit import Pursuit, Raises, Side

__all__ = ["is_hopeless", "most_important", "raise_layers", "search_masks"]

Mask = dict[str, LayerUpdate]
Attempt = Callable[[Pursuit, Side, Mask, float], bool]

#: Graphs of at most so many operations get the mask model, which is slow on larger ones.
MASK_MODEL_WORKS = 200
#: Of the time for one micro-batch, what a better estimate of memory may take.
_ESTIMATE_SHARE = 0.3
#: Different masks that are tried in the bisection.
_PROBES = 8


def search_masks(pursuit: Pursuit, side: Side, seconds: float) -> None:
    """Look for the mask of most importance for which a plan fits, at one micro-batch."""
    until = pursuit.clock.now() + seconds
    gain = _gains(side.instance)
    samples = side.affordable_reach_samples(_ESTIMATE_SHARE * seconds)
    estimate = side.memory_estimate(samples)
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
    budget_bytes = pursuit.request.budget_bytes
    return exceeds(fix_mask(side.instance, mask), budget_bytes, 0.02, pursuit.clock)


def raise_layers(pursuit: Pursuit, side: Side, until: float, attempt: Attempt = try_mask) -> None:
    """Raise one layer's option after the other while a plan is found.

    First those of the most importance per byte that the estimate adds; and of all of them first
    those for which the incumbent's schedule does as it is, if need be with other layers updated
    less.  Where an option was in vain, those of the layer that take no fewer bytes are left out,
    until the mask is another one.

    Args:
        attempt: looks for a plan of a mask for some seconds.
    """
    while pursuit.clock.now() < until and not pursuit.clock.stop():
        best = pursuit.best
        if best is None or best.instance.samples != side.samples:
            return
        if -best.worth.minus_importance >= pursuit.most_importance:
            return  # before an estimate is made, which takes long on large graphs
        mask = best.instance.mask()
        if side.raises is None or side.raises.schedule != best.schedule:
            same = side.raises is not None and side.raises.mask == mask
            in_vain = side.raises.in_vain if side.raises is not None and same else {}
            side.raises = Raises(mask, best.schedule, in_vain=in_vain)
        raises = side.raises
        raised = _raise_as_it_is(pursuit, side, raises, until)
        if raised is None and _exchange(pursuit, side, raises, until):
            continue
        if raised is None:
            raised = _raise_by_search(pursuit, side, raises, until, attempt)
        if raised is None:
            return
        raises.mask = raised  # what was too much for a smaller mask is for a larger one


def _raise_as_it_is(pursuit: Pursuit, side: Side, raises: Raises, until: float) -> Mask | None:
    """Return the first larger mask for which the incumbent's schedule does as it is, if any."""
    estimate, too_large = side.memory_estimate(), raises.too_large_as_it_is
    for _, option in raises_of(estimate, raises.mask):
        layer = option.update.layer
        least = min(too_large.get(layer, inf), raises.in_vain.get(layer, inf))
        if option.own_bytes >= least:
            continue
        if pursuit.clock.over(until):
            return None
        trial = {**raises.mask, layer: option.update}
        if carry_over(pursuit, side, trial):
            return trial
        too_large[layer] = option.own_bytes
    return None


def _exchange(pursuit: Pursuit, side: Side, raises: Raises, until: float) -> bool:
    """Look for a mask for which the schedule does, if others are updated less; True if it does."""
    if not pursuit.techniques.mask_exchanges:
        return False
    estimate = side.memory_estimate()
    for option, trial in exchanges(estimate, raises.mask, but=raises.exchanged):
        if pursuit.clock.over(until):
            return False
        if carry_over(pursuit, side, trial):
            return True
        raises.exchanged.add(option.update)
    return False


def _raise_by_search(
    pursuit: Pursuit, side: Side, raises: Raises, until: float, attempt: Attempt
) -> Mask | None:
    """Return the first larger mask for which a plan is found, if any."""
    for _, option in raises_of(side.memory_estimate(), raises.mask):
        layer = option.update.layer
        if option.own_bytes >= raises.in_vain.get(layer, inf):
            continue
        if pursuit.clock.over(until):
            return None
        trial = {**raises.mask, layer: option.update}
        if not _too_large(pursuit, side, trial):
            pursuit.tell(f"update mask, micro-batch {side.samples}")
            if attempt(pursuit, side, trial, max(0.05, 0.05 * (until - pursuit.clock.now()))):
                return trial
        raises.in_vain[layer] = option.own_bytes
    return None


def _gains(instance: Instance) -> dict[tuple[str, LayerUpdate], int]:
    return {
        (choice.layer, option): units
        for choice in instance.choices
        for option, units in zip(choice.options, choice.units, strict=True)
        if option is not None
    }


def _importance(mask: Mask, gain: dict[tuple[str, LayerUpdate], int]) -> int:
    return sum(gain[layer, option] for layer, option in mask.items())
