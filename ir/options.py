"""What of each layer a request allows to be updated."""

from __future__ import annotations

from memplan.ir.errors import RequestError
from memplan.ir.graph import Layer, OpGraph
from memplan.ir.importance import ranking
from memplan.ir.request import LayerUpdate, PlanRequest

__all__ = ["update_options"]


def update_options(
    graph: OpGraph, request: PlanRequest
) -> dict[str, tuple[LayerUpdate | None, ...]]:
    """Return per layer what may be updated of it; None stands for nothing.

    A layer with one option leaves no choice.  In infer mode every layer has the option None.

    Raises:
        RequestError: the request's mask names a layer, bias, axis or channel that is not there.
    """
    frozen: dict[str, tuple[LayerUpdate | None, ...]] = {
        layer.id: (None,) for layer in graph.layers
    }
    if graph.mode == "infer":
        return frozen
    if request.update == "auto":
        _must_have_worth(graph, request)
        divisors = frozenset(request.slice_divisors)
        return {layer.id: (None, *_choices(layer, divisors)) for layer in graph.layers}
    if request.update == "full":
        return {layer.id: (_whole(layer),) for layer in graph.layers}
    if request.update == "bias":
        biased = {
            layer.id: (LayerUpdate(layer=layer.id, bias=True),)
            for layer in graph.layers
            if layer.bias is not None
        }
        if not biased:
            raise RequestError(
                "update bias: no layer of this graph has a bias; use another --update"
            )
        return frozen | biased
    if request.update == "last-layer":
        heads = [layer for layer in graph.layers if layer.kind in ("linear", "convolution")]
        last = (heads or list(graph.layers))[-1]
        return frozen | {last.id: (_whole(last),)}
    if not request.update:
        raise RequestError("update mask: it lists no layer; list one, or choose by update auto")
    for update in request.update:
        _must_exist(graph, update)
    return frozen | {update.layer: (update,) for update in request.update}


def _whole(layer: Layer) -> LayerUpdate:
    return LayerUpdate(
        layer=layer.id,
        bias=layer.bias is not None,
        weight="none" if layer.weight is None else "whole",
    )


def _choices(layer: Layer, divisors: frozenset[int]) -> list[LayerUpdate]:
    choices = []
    has_bias = layer.bias is not None
    if has_bias:
        choices.append(LayerUpdate(layer=layer.id, bias=True))
    for axis in layer.axes:
        order = ranking(axis)
        counts = sorted({axis.channels // divisor for divisor in divisors})
        choices += [
            LayerUpdate(
                layer=layer.id,
                bias=has_bias,
                weight=axis.name,
                channels=tuple(sorted(order[:count])),
            )
            for count in counts
            if 0 < count < axis.channels
        ]
    if layer.weight is not None:
        choices.append(_whole(layer))
    return choices


def _must_have_worth(graph: OpGraph, request: PlanRequest) -> None:
    if request.criterion != "contribution":
        return
    unknown = next((name for name in request.contributions if name not in graph.layer), None)
    if unknown is not None:
        raise RequestError(
            f"contributions: the graph has no layer {unknown[:80]!r}; plan trace lists the layers"
        )
    if not any(request.contributions.values()):
        raise RequestError("contributions: no layer has a gain above 0; give one to at least one")


def _must_exist(graph: OpGraph, update: LayerUpdate) -> None:
    layer = graph.layer.get(update.layer)
    if layer is None:
        raise RequestError(
            f"update mask: the graph has no layer {update.layer!r}; plan trace lists the layers"
        )
    if update.bias and layer.bias is None:
        raise RequestError(f"update mask: layer {layer.id} has no bias")
    if update.weight != "none" and layer.weight is None:
        raise RequestError(f"update mask: layer {layer.id} has no weight")
    if update.weight in ("input", "output"):
        axis = next((axis for axis in layer.axes if axis.name == update.weight), None)
        if axis is None:
            offered = ", ".join(axis.name for axis in layer.axes) or "whole only"
            raise RequestError(
                f"update mask: layer {layer.id} cannot be cut along its {update.weight} channels "
                f"(offered: {offered})"
            )
        if update.channels[-1] >= axis.channels:
            raise RequestError(
                f"update mask: layer {layer.id} has {axis.channels} {update.weight} channels, "
                f"{update.channels[-1]} is not one of them"
            )
