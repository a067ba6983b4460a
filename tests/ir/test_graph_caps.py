"""Numbers that a small graph file may claim, and that would cost much to believe."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memplan.ir.errors import GraphError
from memplan.ir.graph import OpGraph
from memplan.ir.limits import MAX_CHANNELS, MAX_RANK
from memplan.ir.options import update_options
from memplan.ir.request import PlanRequest
from tests.support.hand_graphs import two_layers


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(two_layers().to_json())
    return loaded


def test_a_billion_channels_are_not_ranked() -> None:
    claimed = document()
    claimed["layers"][0]["axes"][0]["channels"] = 10**9
    with pytest.raises(GraphError, match=f"channels along their axes; at most {MAX_CHANNELS}"):
        OpGraph.from_json(json.dumps(claimed))


def test_slices_are_few() -> None:
    claimed = document()
    tensor = next(tensor for tensor in claimed["tensors"] if tensor["slices"])
    tensor["slices"] *= MAX_RANK + 1
    with pytest.raises(GraphError, match=f"at most {MAX_RANK} are read"):
        OpGraph.from_json(json.dumps(claimed))
    claimed = document()
    operation = claimed["operations"][0]
    operation["alternatives"][0]["slices"] = [{"axis": "input", "channels": 4}] * (MAX_RANK + 1)
    with pytest.raises(GraphError, match=f"more than {MAX_RANK} slices or axes"):
        OpGraph.from_json(json.dumps(claimed))


def test_a_divisor_that_stands_a_million_times_counts_once() -> None:
    once = PlanRequest(budget_bytes=1, batch=4, slice_divisors=(2,))
    often = PlanRequest(budget_bytes=1, batch=4, slice_divisors=(2,) * 10**6)
    assert update_options(two_layers(), often) == update_options(two_layers(), once)
