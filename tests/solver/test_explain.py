from __future__ import annotations

from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import Operand, OpGraph, Tensor
from memplan.ir.request import PlanRequest
from memplan.ir.units import Affine
from memplan.solver import Techniques, solve
from tests.solver.joint.test_addresses import gap
from tests.solver.problems import line, request, skip
from tests.support.brute_force import smallest_arena
from tests.support.hand_graphs import chain


def test_a_proof_names_the_operation_and_its_tensors() -> None:
    answer = solve(line(4, 100, 60, 8), request(line(4, 100, 60, 8), 159))
    assert answer.status == "infeasible"
    assert answer.lower_bound_bytes == 160
    explanation = answer.explanation
    assert explanation is not None
    assert explanation.reason == "every plan needs at least 160 B, the budget is 159 B"
    assert explanation.operation == "f1"
    assert explanation.tensors == (("t0", 100), ("t1", 60))


def test_without_a_proof_it_is_undecided_and_says_so() -> None:
    # Twelve bytes are needed, as eleven live at most but do not pack; no byte bound sees it.
    answer = solve(gap(), request(gap(), 11, time_limit_seconds=0.5))
    assert answer.status == "undecided"
    assert answer.plan is None
    assert answer.lower_bound_bytes <= 11
    assert answer.smallest_found_bytes == 12
    assert answer.explanation is not None
    assert "without a proof" in answer.explanation.reason
    remedy = answer.explanation.remedies[0]
    assert (remedy.action, remedy.bytes_after, remedy.proven) == ("a budget of 12 B", 12, True)


def test_remedies_lead_to_fewer_bytes() -> None:
    graph = chain(3)
    asked = request(graph, 100, batch=4, time_limit_seconds=0.5)
    answer = solve(graph, asked)
    assert answer.status == "infeasible"
    assert answer.explanation is not None
    remedies = {remedy.action: remedy for remedy in answer.explanation.remedies}
    one = next(r for action, r in remedies.items() if "--batch 1" in action)
    stream = next(r for action, r in remedies.items() if "--stream-inputs" in action)
    assert all(r.bytes_after < answer.lower_bound_bytes for r in remedies.values())
    # Both are bounds of the request that they change to, over all micro-batches.
    for remedy, changes in (
        (one, {"batch": 1, "micro_batch": "auto"}),
        (stream, {"stream_inputs": True}),
    ):
        changed = asked.model_copy(update={**changes, "budget_bytes": 1 << 20})
        answer = solve(graph, changed, techniques=Techniques.without("joint_model"))
        assert answer.plan is not None
        assert remedy.bytes_after <= answer.plan.totals.arena_bytes


def test_a_fixed_micro_batch_is_respected() -> None:
    graph = chain(1)
    answer = solve(graph, request(graph, 100, batch=4, micro_batch=4))
    assert answer.explanation is not None
    # Streaming does not help where the whole batch is one trip.
    actions = [remedy.action for remedy in answer.explanation.remedies]
    assert not any("--stream-inputs" in action for action in actions)


def test_the_smallest_plan_found_is_offered() -> None:
    # 119 B cannot be had: 120 B is the least there is, by recomputing.
    asked = request(skip(), 119, time_limit_seconds=0.5)
    assert smallest_arena(skip(), asked) == 120
    answer = solve(skip(), asked)
    assert answer.status == "infeasible"
    assert answer.lower_bound_bytes == 120


def phone(graph: OpGraph, size_bytes: int, budget_bytes: int) -> PlanRequest:
    device = Device(
        name="phone",
        regions=(Region(name="ram", kind="ram", size_bytes=size_bytes, alignment_bytes=1),),
        rates=Rates(macs_per_second=10**9, moved_bytes_per_second=10**9),
        weights="ram",
    )
    return request(graph, budget_bytes, device=device, time_limit_seconds=0.5)


def smallest_budget(graph: OpGraph, asked: PlanRequest) -> int | None:
    """Return the budget that is offered as one in which a plan was found, if one is."""
    answer = solve(graph, asked, techniques=Techniques.without("looking_back", "pebbling"))
    assert answer.plan is None
    assert answer.status == "undecided"
    assert answer.smallest_found_bytes is not None
    assert answer.explanation is not None
    actions = [(r.action, r.bytes_after) for r in answer.explanation.remedies if r.proven]
    assert all(action == f"a budget of {size} B" for action, size in actions)
    return actions[0][1] if actions else None


def with_frozen_weights() -> OpGraph:
    """``skip``, whose first operation reads 40 B of weights that stay as they are."""
    graph = skip()
    weights = Tensor(
        id="w", role="parameter", dtype="uint8", shape=(Affine(40),), strides=(Affine(1),),
        size_bytes=Affine(40),
    )  # fmt: skip
    first = graph.operations[0]
    way = first.alternatives[0]
    way = way.model_copy(update={"reads": (*way.reads, Operand(tensor="w"))})
    changed = first.model_copy(update={"alternatives": (way,)})
    return graph.model_copy(
        update={
            "tensors": (*graph.tensors, weights),
            "operations": (changed, *graph.operations[1:]),
        }
    )


def test_the_budget_that_is_offered_holds_the_frozen_weights_too() -> None:
    graph = with_frozen_weights()
    offered = smallest_budget(graph, phone(graph, 1 << 20, 119 + 40))
    assert offered == 120 + 40
    again = solve(graph, phone(graph, 1 << 20, offered))
    assert again.plan is not None


def test_no_budget_is_offered_where_the_region_is_too_small() -> None:
    graph = with_frozen_weights()
    assert smallest_budget(graph, phone(graph, 119, 1 << 20)) is None
