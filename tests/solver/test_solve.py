from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memplan.ir.check import check
from memplan.ir.device import Device, Rates, Region
from memplan.ir.errors import RequestError
from memplan.ir.graph import OpGraph
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import Affine
from memplan.solver import Techniques, solve, solver_version
from tests.solver.problems import line, request, skip, worth_of
from tests.support.brute_force import smallest_arena
from tests.support.hand_graphs import HAND_GRAPHS, chain, inference, two_layers
from tests.support.random_graphs import random_graph, random_request


@pytest.mark.parametrize("name", HAND_GRAPHS)
def test_an_answer_carries_its_proof(name: str) -> None:
    graph = HAND_GRAPHS[name]()
    # Ends with the proof, long before the limit.
    asked = request(graph, update="full", time_limit_seconds=30.0)
    answer = solve(graph, asked)
    assert answer.status == "optimal"
    plan = answer.plan
    assert plan is not None and answer.explanation is None
    certificate = plan.certificate
    assert certificate.solver == solver_version()
    assert certificate.graph_hash == graph.content_hash()
    assert certificate.request_hash == asked.content_hash()
    assert certificate.lower_bound_bytes == answer.lower_bound_bytes <= plan.totals.arena_bytes
    assert answer.smallest_found_bytes is not None
    assert answer.smallest_found_bytes <= plan.totals.arena_bytes


def test_bounds_that_need_a_limit_on_computations_say_so() -> None:
    asked = request(skip(), 120, time_limit_seconds=30.0, computations=2)
    answer = solve(skip(), asked, techniques=Techniques.without("line_model", "order_search"))
    assert answer.plan is not None and answer.status == "optimal"
    restrictions = answer.plan.certificate.restrictions
    assert restrictions == ("at most 2 computations of one operation",)
    # Its operations have one order, along which the search supposes nothing.
    along = solve(skip(), asked)
    assert along.plan is not None and along.status == "optimal"
    assert along.plan.certificate.restrictions == ()
    assert worth_of(along) == worth_of(answer)


def test_a_plan_that_meets_bounds_without_restrictions_has_none() -> None:
    graph = line(8, 8)
    answer = solve(graph, request(graph, time_limit_seconds=30.0))
    assert answer.plan is not None and answer.status == "optimal"
    assert answer.lower_bound_bytes == answer.plan.totals.arena_bytes == 16


def test_the_users_mask_is_respected() -> None:
    sliced = LayerUpdate(layer="l2", bias=True, weight="input", channels=(1, 3))
    graph = two_layers()
    answer = solve(graph, request(graph, update=(sliced,), time_limit_seconds=2.0))
    assert answer.plan is not None
    assert answer.plan.mask == (sliced,)
    assert [level.name for level in answer.plan.certificate.levels] == ["time_ns", "arena_bytes"]


def test_micro_batches_where_the_batch_does_not_fit() -> None:
    graph = chain(2, per_sample=256)
    answer = solve(graph, request(graph, 1_400, batch=4, stream_inputs=True))
    assert answer.plan is not None
    assert answer.plan.micro_batch < 4
    assert answer.plan.trips * answer.plan.micro_batch == 4


def test_a_request_that_contradicts_the_graph() -> None:
    graph = two_layers()
    with pytest.raises(RequestError, match="nowhere"):
        solve(graph, request(graph, update=(LayerUpdate(layer="nowhere", bias=True),)))


def test_a_stop_ends_the_search_with_what_there_is() -> None:
    graph = chain(4)
    answer = solve(graph, request(graph, time_limit_seconds=600.0), stop=lambda: True)
    assert answer.plan is None or check(graph, answer.plan).accepted


def test_the_same_question_has_the_same_answer() -> None:
    graph = two_layers()
    asked = request(graph, 900, time_limit_seconds=30.0)
    first, second = solve(graph, asked), solve(graph, asked)
    assert first.status == second.status == "optimal"
    assert worth_of(first) == worth_of(second)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.8, 0.6]))
def test_any_plan_of_a_random_graph_checks(seed: int, part: float) -> None:
    graph = random_graph(seed)
    asked = random_request(seed, graph)
    roomy = solve(
        graph,
        asked.model_copy(update={"time_limit_seconds": 0.3, "workers": 1}),
        techniques=Techniques.without("joint_model"),
    )
    assert roomy.plan is not None
    assert check(graph, roomy.plan).accepted
    budget = max(1, int(part * roomy.plan.totals.arena_bytes))
    tight = asked.model_copy(
        update={"budget_bytes": budget, "time_limit_seconds": 0.4, "workers": 1}
    )
    answer = solve(graph, tight)
    if answer.plan is not None:
        assert check(graph, answer.plan).accepted
        assert answer.plan.totals.arena_bytes <= budget
    assert answer.status != "infeasible" or answer.lower_bound_bytes > budget


@pytest.mark.parametrize("seed", range(10))
def test_more_budget_is_never_worse(seed: int) -> None:
    graph = random_graph(seed, tiny=True)
    asked = random_request(seed, graph, tiny=True).model_copy(
        update={"workers": 1, "time_limit_seconds": 2.0}
    )
    least = smallest_arena(graph, asked)
    assert least is not None
    chance = Random(seed)
    budgets = sorted({least, least + chance.randrange(1, 40), 2 * least})
    previous = None
    for budget in budgets:
        answer = solve(graph, asked.model_copy(update={"budget_bytes": budget}))
        if answer.status != "optimal":
            continue
        if previous is not None:
            assert worth_of(answer) <= previous
        previous = worth_of(answer)
    assert previous is not None


def _restrictions(graph: OpGraph, asked: PlanRequest) -> tuple[str, ...]:
    answer = solve(graph, asked)
    assert answer.plan is not None and answer.status == "optimal"
    return answer.plan.certificate.restrictions


def test_a_plan_in_one_of_several_regions_says_so() -> None:
    def device(*names: str) -> Device:
        return Device(
            name="board",
            regions=tuple(Region(name=n, kind="ram", size_bytes=4096) for n in names),
            rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        )

    for names in (("sram",), ("sram", "dtcm")):
        asked = request(skip(), 120, device=device(*names), time_limit_seconds=30.0)
        asked = asked.model_copy(update={"budget_bytes": 2048})
        restricted = "everything in region sram" in _restrictions(skip(), asked)
        assert restricted == (len(names) > 1)


def test_the_epilogue_has_no_choice_and_says_so() -> None:
    graph = chain(1)
    operations = [
        operation.model_copy(
            update={
                "alternatives": (
                    *operation.alternatives,
                    operation.alternatives[0].model_copy(
                        update={"name": "other", "workspace_bytes": Affine(0)}
                    ),
                )
            }
        )
        if operation.id == "apply.w"
        else operation
        for operation in graph.operations
    ]
    choice = graph.model_copy(update={"operations": tuple(operations)})
    for case, expected in ((graph, False), (choice, True)):
        asked = request(case, batch=2, micro_batch=1, time_limit_seconds=30.0)
        found = _restrictions(case, asked)
        assert any("prologue and epilogue" in text for text in found) == expected
        least = smallest_arena(case, asked)
        assert least is not None
        assert solve(case, asked).lower_bound_bytes <= least


def test_frozen_weights_in_ram_share_the_budget_with_the_arena() -> None:
    graph = inference()
    device = Device(
        name="phone",
        regions=(Region(name="ram", kind="ram", size_bytes=1 << 20, alignment_bytes=1),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        weights="ram",
    )
    asked = request(graph, batch=1, device=device, time_limit_seconds=30.0)
    roomy = solve(graph, asked)
    assert roomy.plan is not None and roomy.plan.totals.frozen_bytes == 40
    least = roomy.plan.totals.arena_bytes
    assert roomy.lower_bound_bytes <= least
    enough = solve(graph, asked.model_copy(update={"budget_bytes": least + 40}))
    assert enough.status == "optimal"
    below = roomy.lower_bound_bytes + 39
    answer = solve(graph, asked.model_copy(update={"budget_bytes": below}))
    assert answer.status == "infeasible" and answer.explanation is not None
    assert answer.explanation.reason == (
        f"every plan needs at least {below - 39} B beside 40 B of frozen weights, "
        f"the budget is {below} B"
    )
