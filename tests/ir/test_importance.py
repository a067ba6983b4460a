"""Importance worked out by hand.

Layer a: P = 2, 10 parameters (2 of the bias), 100 MACs.  Layer b: P = 1, 40 parameters, 50 MACs.
TinyTrain eq. 3: a = 2 / (10/40 · 100/100) = 8, b = 1 / (40/40 · 50/100) = 2.
"""

from __future__ import annotations

from typing import Any

import pytest

from memplan.ir.graph import ChannelAxis, Layer, OpGraph
from memplan.ir.importance import importance_units, ranking, scores, total_units
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import Affine
from tests.support.hand_graphs import two_layers


def layer(name: str, **fields: Any) -> Layer:
    number = {"a": 1, "b": 2}[name]
    return Layer(id=name, kind="linear", weight=f"w{number}", **fields)


def graph(**of_a: Any) -> OpGraph:
    a = layer(
        "a",
        **{
            "bias": "b1",
            "parameter_count": 10,
            "bias_parameters": 2,
            "forward_macs": Affine(0, 100),
            "fisher": 2.0,
            "bias_fisher": 0.5,
            "axes": (ChannelAxis(name="output", channels=2, potentials=(3.0, 1.0)),),
            **of_a,
        },
    )
    b = layer("b", bias=None, parameter_count=40, forward_macs=Affine(50), fisher=1.0)
    return two_layers().model_copy(update={"layers": (a, b)})


def request(criterion: str = "tinytrain", **fields: Any) -> PlanRequest:
    return PlanRequest.model_validate(
        {"budget_bytes": 1, "batch": 1, "criterion": criterion, **fields}
    )


WHOLE_A = LayerUpdate(layer="a", bias=True, weight="whole")
WHOLE_B = LayerUpdate(layer="b", weight="whole")
BIAS_A = LayerUpdate(layer="a", bias=True)
FIRST_A = LayerUpdate(layer="a", bias=True, weight="output", channels=(0,))
FIRST_A_ALONE = LayerUpdate(layer="a", weight="output", channels=(0,))


def units(of: OpGraph, asked: PlanRequest, *updates: LayerUpdate) -> list[int]:
    found = importance_units(of, asked, updates)
    return [found[update.layer, update] for update in updates]


def test_scores_per_criterion() -> None:
    assert scores(graph(), request()) == {"a": 8.0, "b": 2.0}
    assert scores(graph(), request("fisher")) == {"a": 2.0, "b": 1.0}
    assert scores(graph(), request("uniform")) == {"a": 1.0, "b": 1.0}
    table = request("contribution", contributions={"b": 0.25})
    assert scores(graph(), table) == {"a": 0.0, "b": 0.25}


@pytest.mark.parametrize(
    ("asked", "whole"),
    [
        (request(), [800_000, 200_000]),
        (request("fisher"), [666_667, 333_333]),
        (request("uniform"), [500_000, 500_000]),
        (request("contribution", contributions={"b": 0.25}), [0, 1_000_000]),
        (request("contribution"), [0, 0]),
    ],
)
def test_a_whole_layer_is_worth_its_score(asked: PlanRequest, whole: list[int]) -> None:
    assert units(graph(), asked, WHOLE_A, WHOLE_B) == whole


def test_total() -> None:
    assert total_units(graph(), request()) == 1_000_000
    assert total_units(graph(), request("contribution")) == 0


def test_bias_and_channels_by_potential() -> None:
    # The bias has 0.5 of 2: a quarter.  Channel 0 has 3 of 4 of the rest.
    assert units(graph(), request(), BIAS_A, FIRST_A, FIRST_A_ALONE) == [200_000, 650_000, 450_000]


def test_bias_and_channels_without_samples() -> None:
    # P is 1 for both: a = 4, b = 2.  The bias has 2 of 10 parameters, channel 0 half of the rest.
    axis = ChannelAxis(name="output", channels=2)
    silent = graph(fisher=None, bias_fisher=None, axes=(axis,))
    assert units(silent, request(), WHOLE_A, WHOLE_B) == [666_667, 333_333]
    assert units(silent, request(), BIAS_A, FIRST_A) == [133_333, 400_000]


def test_a_bias_is_worth_at_most_its_layer() -> None:
    assert units(graph(bias_fisher=5.0), request(), BIAS_A, WHOLE_A) == [800_000, 800_000]


def test_a_layer_without_macs_counts_with_the_least_of_any() -> None:
    # a: 2 / (10/40 · 50/50) = 8, b: 1 / (1 · 1) = 1.
    assert scores(graph(forward_macs=Affine(0)), request()) == {"a": 8.0, "b": 1.0}


def test_ranking() -> None:
    potentials, norms = (0.5, 2.0, 0.5), (1.0, 2.0, 3.0)
    axis = ChannelAxis(name="output", channels=3, potentials=potentials, norms=norms)
    assert ranking(axis) == (1, 0, 2)
    assert ranking(ChannelAxis(name="output", channels=3, norms=norms)) == (2, 1, 0)
    assert ranking(ChannelAxis(name="output", channels=3)) == (0, 1, 2)
