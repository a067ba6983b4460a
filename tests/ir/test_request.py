from __future__ import annotations

import json
from typing import Any

import pytest

from memplan.ir.device import HOST, Device, Rates, Region
from memplan.ir.errors import RequestError
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.support.hand_graphs import chain
from tests.support.naive_plan import naive_plan

BOARD: dict[str, Any] = {
    "schema": "memplan.device/1",
    "name": "board",
    "regions": [{"name": "sram", "kind": "ram", "size_bytes": 1024}],
    "rates": {"macs_per_second": 1_000_000, "moved_bytes_per_second": 4_000_000},
}


def test_round_trip_with_mask_and_device() -> None:
    request = PlanRequest(
        budget_bytes=1000,
        batch=4,
        micro_batch=2,
        device=Device.from_json(json.dumps(BOARD)),
        update=(LayerUpdate(layer="l", bias=True, weight="input", channels=(0, 2)),),
        contributions={"l": 0.5},
    )
    again = PlanRequest.from_json(request.to_json())
    assert again == request
    assert again.content_hash() == request.content_hash()


def test_messages_name_the_field_and_not_the_union() -> None:
    text = '{"budget_bytes": 1, "batch": 1, "update": [{"layer": "l"}]}'
    with pytest.raises(RequestError, match=r"^request: update\.0: layer l: nothing is updated"):
        PlanRequest.from_json(text, "request")


def test_copies_forget_what_was_cached() -> None:
    plan = naive_plan(chain(), PlanRequest(budget_bytes=1000, batch=2))
    assert len(plan.steps) == len(plan.body)
    assert plan.model_copy(update={"body": plan.body[1:]}).steps == plan.body[1:]
    graph = chain()
    assert "w" in graph.tensor
    assert graph.model_copy(update={"tensors": ()}).tensor == {}


def test_hash_names_the_question() -> None:
    request = PlanRequest(budget_bytes=1000, batch=4)
    assert request.content_hash() == PlanRequest(batch=4, budget_bytes=1000).content_hash()
    for change in ({"seed": 1}, {"budget_bytes": 1001}, {"stream_inputs": True}):
        assert request.model_copy(update=change).content_hash() != request.content_hash()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"budget_bytes": 0}, "budget_bytes"),
        ({"budget_bytes": 2**60}, "budget_bytes"),
        ({"budget_bytes": "256KB"}, "budget_bytes"),
        ({"batch": 0}, "batch"),
        ({"batch": 2**21}, "batch"),
        ({"batch": True}, "batch"),
        ({"micro_batch": 3}, "micro_batch 3 does not divide the batch 4"),
        ({"micro_batch": "all"}, "micro_batch"),
        ({"update": "everything"}, "update"),
        ({"criterion": "magic"}, "criterion"),
        ({"contributions": {"l": -1.0}}, "contributions"),
        ({"slice_divisors": [1]}, "slice_divisors"),
        ({"compute_limit": -0.5}, "compute_limit"),
        ({"computations": 0}, "computations"),
        ({"alignment_bytes": 0}, "alignment_bytes"),
        ({"time_limit_seconds": 0}, "time_limit_seconds"),
        ({"workers": 0}, "workers"),
        ({"more": 1}, "more"),
        ({"update": [{"layer": "l", "bias": True}, {"layer": "l", "weight": "whole"}]}, "twice"),
        ({"update": [{"layer": "l"}]}, "nothing is updated"),
        ({"update": [{"layer": "l", "weight": "input"}]}, "channels go with an axis"),
        ({"update": [{"layer": "l", "weight": "whole", "channels": [1]}]}, "channels go with"),
        ({"update": [{"layer": "l", "weight": "input", "channels": [1, 1]}]}, "ascend"),
        ({"update": [{"layer": "l", "weight": "input", "channels": [2, 1]}]}, "ascend"),
        ({"update": [{"layer": "l", "weight": "input", "channels": [-1]}]}, "channels"),
    ],
)
def test_contradictions_are_usage_errors(changes: dict[str, Any], match: str) -> None:
    text = json.dumps({"budget_bytes": 1000, "batch": 4} | changes)
    with pytest.raises(RequestError, match=match) as failure:
        PlanRequest.from_json(text, "request")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"regions": []}, "regions"),
        ({"regions": [{"name": "f", "kind": "flash", "size_bytes": 9}]}, "at least one region"),
        ({"regions": BOARD["regions"] * 2}, "two regions have the same name"),
        ({"rates": {"macs_per_second": 0, "moved_bytes_per_second": 1}}, "macs_per_second"),
        ({"weights": "cloud"}, "weights"),
    ],
)
def test_devices_are_strict(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(RequestError, match=match):
        Device.from_json(json.dumps(BOARD | changes))


def test_time_is_rounded_up_part_by_part() -> None:
    rates = Rates(macs_per_second=3_000_000, moved_bytes_per_second=7_000_000, overhead_ns=50)
    # 1 MAC takes 333.3 ns, 2 bytes take 285.7 ns.
    assert rates.time_ns(1, 2) == 50 + 334 + 286
    assert rates.time_ns(0, 0) == 50


def test_without_a_device_the_host_stands_in() -> None:
    request = PlanRequest(budget_bytes=1, batch=1)
    assert request.rates is HOST
    rates = Rates(macs_per_second=1, moved_bytes_per_second=1)
    device = Device(name="d", regions=(Region(name="r", kind="ram", size_bytes=1),), rates=rates)
    assert request.model_copy(update={"device": device}).rates == rates
