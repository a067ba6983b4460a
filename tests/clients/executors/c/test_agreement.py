"""What counts as the same step in both executors, where parameters are integers."""

from __future__ import annotations

import pytest
import torch

from memplan.clients.executors.c.agreement import Agreement, agreement
from memplan.clients.executors.c.host import HostResult
from memplan.clients.executors.torch.result import StepResult
from tests.support.int8_networks import Residual, quantized

GRAPH = quantized(Residual).graph


def compared(
    before: torch.Tensor, expected: torch.Tensor, found: torch.Tensor, tolerance: float = 1e-3
) -> Agreement:
    theirs = StepResult(
        loss=None, updated={"w": expected}, states={}, outputs={}, arena_bytes=0, seconds=0, steps=1
    )
    ours = HostResult(losses=(), outputs={}, updated={"w": found}, states={}, results=b"")
    return agreement(GRAPH, {"w": before}, ours, theirs, tolerance)


def weights(count: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    before = torch.arange(count).sub(count // 2).to(torch.int8)
    return before, before + torch.arange(count).remainder(9).sub(4).to(torch.int8)


@pytest.mark.parametrize(("differ", "ok"), [(0, True), (2, True), (3, False)])
def test_a_unit_may_differ_where_it_is_rare(differ: int, ok: bool) -> None:
    before, expected = weights()
    found = expected.clone()
    found[:differ] += 1
    assert compared(before, expected, found).ok == ok


def test_one_of_few_may_differ_by_a_unit_but_not_by_two() -> None:
    before, expected = weights(8)
    found = expected.clone()
    found[3] -= 1
    assert compared(before, expected, found).ok
    found[3] -= 1
    wrong = compared(before, expected, found)
    assert not wrong.ok
    assert wrong.worst == "w"
    assert wrong.worst_error == pytest.approx(1 / 4)


def test_of_long_steps_more_may_differ() -> None:
    before = torch.zeros(40, dtype=torch.int32)
    expected = torch.arange(40, dtype=torch.int32) * 3000
    found = expected + 2
    assert compared(before, expected, found).ok
    assert not compared(before, expected, found, tolerance=1e-6).ok
    assert not compared(before, expected // 3000, expected // 3000 + 1).ok


def test_what_is_not_updated_is_the_same() -> None:
    before, _ = weights()
    found = before.clone()
    found[0] += 1
    assert compared(before, before, before).ok
    assert not compared(before, before, found).ok
