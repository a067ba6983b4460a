from __future__ import annotations

import json
from typing import Any

import pytest

from memplan.ir.blocks import block_cost, cover_allowed, covered_operations, mutated_tensors
from memplan.ir.errors import GraphError
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate
from tests.support.hand_graphs import block

GRAPH = block()
BACK = GRAPH.operation["narrow.back"]
PLAIN, STRIPS, _ = BACK.alternatives
FULL = {
    "l0": LayerUpdate(layer="l0", weight="whole"),
    "l1": LayerUpdate(layer="l1", weight="whole", bias=True),
}


def test_a_block_mutates_what_it_covers() -> None:
    assert mutated_tensors(GRAPH, BACK, PLAIN) == ()
    assert mutated_tensors(GRAPH, BACK, STRIPS) == ("w1", "b1")
    assert [each.id for each in covered_operations(GRAPH, STRIPS)] == ["update.w1", "update.b1"]


def test_a_block_is_allowed_where_all_that_it_covers_is_updated() -> None:
    assert cover_allowed(GRAPH, STRIPS, FULL)
    assert cover_allowed(GRAPH, PLAIN, {})
    assert not cover_allowed(GRAPH, STRIPS, {"l0": FULL["l0"]})
    assert not cover_allowed(GRAPH, STRIPS, {"l1": LayerUpdate(layer="l1", weight="whole")})


def test_a_block_costs_its_own_and_what_it_covers() -> None:
    assert block_cost(GRAPH, BACK, PLAIN, 2, FULL) == (80, 400)
    assert block_cost(GRAPH, BACK, STRIPS, 2, FULL) == (140, 120 + 3 * 24 + 3 * 8)


def _with(covers: tuple[str, ...], operation: str = "narrow.back", **changes: Any) -> OpGraph:
    data = GRAPH.model_dump(mode="json", by_alias=True)
    for each in data["operations"]:
        if each["id"] == operation:
            each["alternatives"][-1]["covers"] = list(covers)
            each.update(changes)
    return OpGraph.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("covers", "changes", "message"),
    [
        (("update.w1", "update.w1"), {}, "twice"),
        (("nothing",), {}, "no other operation"),
        (("narrow.back",), {}, "no other operation"),
        (("widen",), {}, "of phase backward"),
        (("apply.w1",), {}, "of phase apply"),
        (("update.w1",), {"recomputable": True}, "recomputable"),
    ],
)
def test_what_cannot_be_covered(
    covers: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        _with(covers, **changes)


def test_what_is_covered_covers_nothing() -> None:
    with pytest.raises(GraphError, match="covers operations itself"):
        _with(("update.b1",), "update.w1")


def test_the_plain_alternative_covers_nothing() -> None:
    with pytest.raises(GraphError, match="plain"):
        _with(("update.w1",), "widen")
