"""Plans that the solver finds for networks in rows: accepted, above their bound, and right."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

import memplan
from memplan.clients.executors.torch import ArenaExecutor
from memplan.ir.check import check
from memplan.ir.errors import ModelError
from memplan.ir.graph import OpGraph
from memplan.tracing.settings import TraceSettings
from tests.clients.executors.calls import close
from tests.clients.executors.kernels.test_row_strips import only, traced_network, training_network
from tests.clients.executors.training import Traced, against_autograd, random_inputs
from tests.support.strip_networks import STRIP_NETWORKS


@cache
def network(name: str, streamed: bool) -> Traced:
    build, x = STRIP_NETWORKS[name]
    return traced_network(build(), x, TraceSettings(mode="infer", input_streamed=streamed))


def without(graph: OpGraph, ending: str) -> OpGraph:
    return only(graph, lambda way: not way.name.endswith(ending))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["two blocks and a stem", "stride 2", "basic blocks", "pools"])
def test_plans_are_accepted_and_never_beat_the_bound(name: str, streamed: bool) -> None:
    case = network(name, streamed)
    inputs = random_inputs(case.graph, 2)
    with torch.no_grad():
        expected = case.module(next(iter(inputs.values())))
    bounds, arenas = [], []
    for budget in (2**20, 1):
        for _ in range(2):  # the second time at the bytes that the first one found
            answer = memplan.plan(
                case.graph, budget=budget, batch=2, micro_batch=1, time_limit=0.5,
                stream_inputs=True, workers=1,
            )  # fmt: skip
            bounds.append(answer.lower_bound_bytes)
            if answer.plan is None:
                break
            report = check(case.graph, answer.plan)
            assert report.accepted, report
            arenas.append(answer.plan.totals.arena_bytes)
            executor = ArenaExecutor(case.graph, answer.plan, case.weights, debug=True)
            close(executor.step(inputs)[case.graph.outputs[0]], expected, 1e-5)
            budget = max(1, (answer.plan.totals.arena_bytes + bounds[-1]) // 2)
    assert arenas
    assert max(bounds) <= min(arenas)


def least(graph: OpGraph, **request: object) -> tuple[int, int]:
    """Return the smallest arena that some tries find, and the best bound."""
    settings = {"batch": 2, "micro_batch": 1, "time_limit": 0.5, "workers": 1, **request}
    bound, arena = 0, 2**20
    for _ in range(4):
        answer = memplan.plan(graph, budget=arena - 1, **settings)  # type: ignore[arg-type]
        bound = max(bound, answer.lower_bound_bytes)
        if answer.plan is None:
            break
        assert check(graph, answer.plan).accepted
        arena = answer.plan.totals.arena_bytes
    return arena, bound


def test_used_up_operands_need_fewer_bytes() -> None:
    graph = network("two blocks and a stem", streamed=False).graph
    arena, _ = least(graph, stream_inputs=True)
    _, bound = least(without(graph, "used_up"), stream_inputs=True)
    # Not only less than what was found without: less than what is possible.
    assert arena < bound


def test_a_streamed_input_needs_no_bytes() -> None:
    graph = network("two blocks and a stem", streamed=True).graph
    (input_,) = [tensor for tensor in graph.tensors if tensor.role == "input"]
    resident = input_.size_bytes.at(1)
    for stream_inputs in (False, True):
        arena, _ = least(graph, stream_inputs=stream_inputs)
        otherwise, _ = least(without(graph, "streamed"), stream_inputs=stream_inputs)
        held = resident if stream_inputs else 2 * resident  # the batch, or a trip's part of it
        assert arena < held <= otherwise


@pytest.mark.parametrize("input_streamed", [False, True])
def test_training_plans(input_streamed: bool) -> None:
    settings = TraceSettings(batch=2, input_streamed=input_streamed)
    case = traced_network(training_network(), torch.randn(2, 3, 18, 18), settings)
    inputs = random_inputs(case.graph, 2, classes=4)
    used: set[str] = set()
    for update in ("last-layer", "auto"):
        roomy = memplan.plan(
            case.graph, budget=2**20, batch=2, update=update, time_limit=0.5, workers=1
        )
        assert roomy.plan is not None
        bound = roomy.lower_bound_bytes
        for share in (0.1, 0.5):
            budget = int(bound + share * (roomy.plan.totals.arena_bytes - bound))
            answer = memplan.plan(
                case.graph, budget=budget, batch=2, update=update, time_limit=1.0, workers=1
            )
            if answer.plan is None:
                continue
            assert check(case.graph, answer.plan).accepted
            assert answer.lower_bound_bytes <= answer.plan.totals.arena_bytes <= budget
            used |= {step.alternative for step in answer.plan.body}
            _, comparison = against_autograd(case.graph, answer.plan, case.weights, inputs)
            assert comparison.ok, comparison.problem
    assert any("rows" in name for name in used)


def test_nothing_is_streamed_where_nothing_takes_rows() -> None:
    with pytest.raises(ModelError, match="row by row"):
        memplan.trace(
            nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 4),
            input_streamed=True,
        )  # fmt: skip
