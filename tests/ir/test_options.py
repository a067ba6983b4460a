from __future__ import annotations

from typing import Any

import pytest

from memplan.ir.errors import RequestError
from memplan.ir.options import update_options
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.support.hand_graphs import chain, diamond, inference, two_layers


def options(graph: Any, **fields: Any) -> dict[str, list[tuple[bool, str, tuple[int, ...]] | None]]:
    request = PlanRequest(**({"budget_bytes": 1, "batch": 4} | fields))
    return {
        layer: [None if c is None else (c.bias, c.weight, c.channels) for c in choices]
        for layer, choices in update_options(graph, request).items()
    }


def test_auto_offers_nothing_bias_slices_and_the_whole() -> None:
    found = options(two_layers(), slice_divisors=(4, 2))
    assert found["l1"] == [
        None,
        (True, "none", ()),
        (True, "input", (0,)),
        (True, "input", (0, 1)),
        (True, "output", (0, 1)),
        (True, "output", (0, 1, 2, 3)),
        (True, "whole", ()),
    ]
    assert options(chain())["stem"] == [None, (True, "none", ())]


def test_divisors_beyond_the_channels_are_left_out() -> None:
    found = options(two_layers(), slice_divisors=(8,))
    assert found["l1"] == [None, (True, "none", ()), (True, "output", (0,)), (True, "whole", ())]


def test_channels_are_chosen_by_potential() -> None:
    graph = two_layers()
    axis = graph.layers[0].axes[0].model_copy(update={"potentials": (0.1, 3.0, 0.2, 2.0)})
    layer = graph.layers[0].model_copy(update={"axes": (axis,)})
    graph = graph.model_copy(update={"layers": (layer, *graph.layers[1:])})
    assert options(graph, slice_divisors=(2,))["l1"][2] == (True, "input", (1, 3))


def test_full_last_layer_and_bias_leave_no_choice() -> None:
    graph = two_layers()
    assert options(graph, update="full") == {
        "l1": [(True, "whole", ())],
        "l2": [(True, "whole", ())],
    }
    assert options(graph, update="last-layer") == {"l1": [None], "l2": [(True, "whole", ())]}
    assert options(graph, update="bias") == {
        "l1": [(True, "none", ())],
        "l2": [(True, "none", ())],
    }


def test_inference_updates_nothing() -> None:
    assert options(inference(), update="full") == {"conv": [None]}


def test_a_mask_of_the_users() -> None:
    update = LayerUpdate(layer="l2", weight="output", channels=(0, 7))
    found = options(two_layers(), update=(update,))
    assert found == {"l1": [None], "l2": [(False, "output", (0, 7))]}


@pytest.mark.parametrize(
    ("graph", "update", "match"),
    [
        (two_layers(), LayerUpdate(layer="l9", weight="whole"), "no layer 'l9'"),
        (diamond(), LayerUpdate(layer="join", bias=True), "has no bias"),
        (chain(), LayerUpdate(layer="stem", weight="whole"), "has no weight"),
        (chain(), LayerUpdate(layer="head", weight="input", channels=(0,)), "cannot be cut"),
        (two_layers(), LayerUpdate(layer="l1", weight="input", channels=(4,)), "4 is not one"),
    ],
)
def test_masks_that_contradict_the_graph(graph: Any, update: LayerUpdate, match: str) -> None:
    with pytest.raises(RequestError, match=match):
        options(graph, update=(update,))


def test_bias_of_a_graph_without_one() -> None:
    with pytest.raises(RequestError, match="no layer of this graph has a bias"):
        options(diamond(), update="bias", batch=1)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(RequestError, match="lists no layer"):
        options(chain(), update=())


def test_contributions_are_of_layers_that_are_there() -> None:
    graph = two_layers()
    assert options(graph, criterion="contribution", contributions={"l1": 1.0})["l1"][0] is None
    with pytest.raises(RequestError, match="no layer 'head'"):
        options(graph, criterion="contribution", contributions={"l1": 1.0, "head": 1.0})
    for nothing in ({}, {"l1": 0.0}):
        with pytest.raises(RequestError, match="no layer has a gain"):
            options(graph, criterion="contribution", contributions=nothing)
