"""What updating a layer is worth, per criterion, in one place.

The score of a layer l with Fisher potential P_l, parameter count ‖W_l‖ and forward MACs M_l:

=============  ==========================================================================
tinytrain      P_l / ((‖W_l‖ / max ‖W‖) · (M_l / max M))      (TinyTrain eq. 3)
fisher         P_l                                            (TinyTrain eq. 2)
contribution   the user's table (MCUNetV3's contribution analysis), 0 where it is silent
uniform        1
=============  ==========================================================================

Without samples P_l is 1 for every layer: a proxy, and the plan says so.  A layer without MACs
(embedding, normalization) counts with the least non-zero MACs of any layer.

Gain: with b the part of the bias, b = min(1, Fisher potential of the bias / P_l), or its part
of the parameters without samples, updating the bias is worth ``b · score``, and channels S of
the weight ``(1 - b) · score · Σ_S Δ / Σ Δ`` (their part of the channels without samples).  A
whole layer is worth its score, and ``importance_ratio`` divides by the sum of all scores.
Gains are counted in whole units, of which all layers together have about ``TOTAL_UNITS``.
"""

from __future__ import annotations

from collections.abc import Iterable

from memplan.ir.graph import ChannelAxis, Layer, OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest

__all__ = ["TOTAL_UNITS", "importance_units", "ranking", "scores", "total_units"]

TOTAL_UNITS = 1_000_000


def ranking(axis: ChannelAxis) -> tuple[int, ...]:
    """Return the channels of an axis, the most important first.

    By Fisher potential, else by the weight's norm (MCUNetV3 "magnitude+"), else by index.
    """
    worth = axis.potentials or axis.norms or (0.0,) * axis.channels
    return tuple(sorted(range(axis.channels), key=lambda c: (-worth[c], c)))


def scores(graph: OpGraph, request: PlanRequest) -> dict[str, float]:
    """Return the score of each layer under the request's criterion."""
    layers = graph.layers
    if request.criterion == "uniform":
        return dict.fromkeys((layer.id for layer in layers), 1.0)
    if request.criterion == "contribution":
        return {layer.id: request.contributions.get(layer.id, 0.0) for layer in layers}
    potential = {layer.id: 1.0 if layer.fisher is None else layer.fisher for layer in layers}
    if request.criterion == "fisher":
        return potential
    macs = {layer.id: layer.forward_macs.at(1) for layer in layers}
    least = min((count for count in macs.values() if count > 0), default=1)
    macs = {name: max(count, least) for name, count in macs.items()}
    most_parameters = max((layer.parameter_count for layer in layers), default=1)
    most_macs = max(macs.values(), default=1)
    return {
        layer.id: potential[layer.id]
        / ((layer.parameter_count / most_parameters) * (macs[layer.id] / most_macs))
        for layer in layers
    }


def importance_units(
    graph: OpGraph, request: PlanRequest, updates: Iterable[LayerUpdate]
) -> dict[tuple[str, LayerUpdate], int]:
    """Return the gain in units of each of ``updates``, keyed by (layer, update)."""
    score = scores(graph, request)
    total = sum(score.values())
    if total <= 0:
        return {(update.layer, update): 0 for update in updates}
    return {
        (update.layer, update): round(
            TOTAL_UNITS * score[update.layer] * _share(graph.layer[update.layer], update) / total
        )
        for update in updates
    }


def total_units(graph: OpGraph, request: PlanRequest) -> int:
    """Return the units of updating every layer whole, which ``importance_ratio`` divides by."""
    whole = [
        LayerUpdate(
            layer=layer.id,
            bias=layer.bias is not None,
            weight="none" if layer.weight is None else "whole",
        )
        for layer in graph.layers
    ]
    return sum(importance_units(graph, request, whole).values())


def _share(layer: Layer, update: LayerUpdate) -> float:
    bias_share = _bias_share(layer)
    share = bias_share if update.bias else 0.0
    if update.weight == "whole":
        share += 1 - bias_share
    elif update.weight != "none":
        axis = next(axis for axis in layer.axes if axis.name == update.weight)
        share += (1 - bias_share) * _channel_share(axis, update.channels)
    return share


def _bias_share(layer: Layer) -> float:
    if layer.bias is None:
        return 0.0
    if layer.weight is None:
        return 1.0
    if layer.fisher is not None and layer.bias_fisher is not None and layer.fisher > 0:
        return min(1.0, layer.bias_fisher / layer.fisher)
    return layer.bias_parameters / layer.parameter_count


def _channel_share(axis: ChannelAxis, channels: tuple[int, ...]) -> float:
    whole = sum(axis.potentials)
    if whole > 0:
        return sum(axis.potentials[c] for c in channels) / whole
    return len(channels) / axis.channels
