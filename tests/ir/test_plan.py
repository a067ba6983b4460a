from __future__ import annotations

import json
from typing import Any

import pytest

from memplan.ir.errors import PlanRejectedError
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from tests.support.hand_graphs import chain
from tests.support.naive_plan import naive_plan


def plan() -> Plan:
    return naive_plan(chain(), PlanRequest(budget_bytes=2**20, batch=4), micro_batch=2)


def test_round_trip() -> None:
    made = plan()
    again = Plan.from_json(made.to_json())
    assert again == made
    assert again.content_hash() == made.content_hash()


def test_steps_are_numbered_through_the_sections() -> None:
    made = plan()
    assert made.steps == made.prologue + made.body + made.epilogue
    assert {s.operation.split(".")[0] for s in made.prologue} == {"clear"}
    assert {s.operation.split(".")[0] for s in made.epilogue} == {"apply"}
    assert made.update_of["head"].weight == "whole"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("buffers", 0, "offset"), -1),
        (("buffers", 0, "size_bytes"), 2**49),
        (("buffers", 0, "scope"), "eternal"),
        (("buffers", 0, "surprise"), 1),
        (("body", 0, "reads"), [-1]),
        (("body", 0, "computation"), 0.5),
        (("totals", "macs"), -1),
        (("certificate", "status"), "perfect"),
        (("certificate", "levels", 0, "gap"), -0.1),
        (("live_bytes", 0), "12"),
        (("trips",), 0),
    ],
)
def test_plans_are_strict(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(plan().to_json())
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(PlanRejectedError, match=str(path[-1])):
        Plan.from_json(json.dumps(document), "plan.json")
