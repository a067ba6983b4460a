"""Valid plans that the mutation tests break, and the tools to break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Buffer, Plan, Step
from memplan.ir.request import LayerUpdate, PlanRequest
from tests.support import hand_graphs
from tests.support.naive_plan import naive_plan, plain_body, with_recomputation

__all__ = [
    "BASES",
    "Case",
    "bases",
    "drop_step",
    "insert_step",
    "move_step",
    "steps_of",
    "with_buffer",
    "with_certificate",
    "with_level",
    "with_request",
    "with_step",
    "with_totals",
]

LARGE = 2**20

BOARD = Device(
    name="board",
    regions=(
        Region(name="sram", kind="ram", size_bytes=4096, reserved_bytes=1024),
        Region(name="flash", kind="flash", size_bytes=4096),
    ),
    rates=Rates(macs_per_second=10**6, moved_bytes_per_second=10**7, overhead_ns=100),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A graph and a plan for it that is accepted."""

    name: str
    graph: OpGraph
    plan: Plan


def _one_trip() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.chain(state=True)
    request = PlanRequest(budget_bytes=LARGE, batch=4, update="full")
    return graph, naive_plan(graph, request, reuse=True, in_place=True)


def _four_trips() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.chain(state=True)
    request = PlanRequest(budget_bytes=LARGE, batch=4, micro_batch=1, update="full")
    return graph, naive_plan(graph, request, reuse=True, in_place=True)


def _streamed() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.chain()
    request = PlanRequest(budget_bytes=LARGE, batch=6, stream_inputs=True)
    return graph, naive_plan(graph, request, micro_batch=2, reuse=True)


def _on_a_board() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.two_layers()
    request = PlanRequest(budget_bytes=3072, batch=4, device=BOARD)
    return graph, naive_plan(graph, request, reuse=True, in_place=True)


SLICED = (
    LayerUpdate(layer="l1", bias=True, weight="output", channels=(1, 2, 5)),
    LayerUpdate(layer="l2", weight="input", channels=(0, 3)),
)


def _sliced() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.two_layers()
    request = PlanRequest(budget_bytes=LARGE, batch=4, update=SLICED)
    return graph, naive_plan(graph, request, micro_batch=2, reuse=True, in_place=True)


def _recomputed() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.two_layers()
    request = PlanRequest(budget_bytes=LARGE, batch=4, micro_batch=4)
    body = plain_body(graph, naive_plan(graph, request).update_of, 1)
    body = with_recomputation(body, "relu1", "linear2.weight_gradient")
    body = with_recomputation(body, "linear1", "linear2.weight_gradient")
    relu = next(i for i, (name, _) in enumerate(body) if name == "relu1")
    # linear1 must run again before relu1 does: its first result died in place.
    again = [i for i, (name, _) in enumerate(body) if name in ("linear1", "relu1")][2:]
    assert relu < again[0]
    body[again[0]], body[again[1]] = ("linear1", "plain"), ("relu1", "plain")
    return graph, naive_plan(graph, request, body=body, reuse=True, in_place=True)


def _fused() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.two_layers()
    request = PlanRequest(budget_bytes=LARGE, batch=4, update="full")
    body = plain_body(graph, naive_plan(graph, request).update_of, 1)
    body = [
        (name, "fused" if name == "update.w1" else way)
        for name, way in body
        if name != "linear1.weight_gradient"
    ]
    return graph, naive_plan(graph, request, body=body, reuse=True)


def _block(trips: int) -> tuple[OpGraph, Plan]:
    graph = hand_graphs.block()
    request = PlanRequest(budget_bytes=LARGE, batch=4, micro_batch=4 // trips, update="full")
    phase = "update" if trips == 1 else "accumulate"
    body = plain_body(graph, naive_plan(graph, request).update_of, trips)
    gone = {"widen", "w1.back", "b1.back", f"{phase}.w1", f"{phase}.b1"}
    body = [
        (name, f"strips_{phase}" if name == "narrow.back" else way)
        for name, way in body
        if name not in gone
    ]
    return graph, naive_plan(graph, request, body=body, reuse=True, in_place=True)


def _block_of_one_trip() -> tuple[OpGraph, Plan]:
    return _block(1)


def _block_of_two_trips() -> tuple[OpGraph, Plan]:
    return _block(2)


def _used_up(trips: int) -> tuple[OpGraph, Plan]:
    graph = hand_graphs.pictures()
    request = PlanRequest(
        budget_bytes=LARGE, batch=4, micro_batch=4 // trips, update="last-layer", stream_inputs=True
    )
    body = plain_body(graph, naive_plan(graph, request).update_of, trips)
    body = [(name, "rows_used_up" if name in ("f0", "f1") else way) for name, way in body]
    return graph, naive_plan(graph, request, body=body, reuse=True, in_place=True)


def _used_up_in_one_trip() -> tuple[OpGraph, Plan]:
    return _used_up(1)


def _used_up_in_two_trips() -> tuple[OpGraph, Plan]:
    return _used_up(2)


def _used_up_and_recomputed() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.pictures()
    request = PlanRequest(budget_bytes=LARGE, batch=4, update="full")
    body = plain_body(graph, naive_plan(graph, request).update_of, 1)
    body = [(name, "rows_used_up" if name == "f1" else way) for name, way in body]
    body = with_recomputation(body, "f0", "w1.back")
    return graph, naive_plan(graph, request, body=body, reuse=True, in_place=True)


def _statistics() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.statistics()
    return graph, naive_plan(graph, PlanRequest(budget_bytes=LARGE, batch=8), reuse=True)


def _diamond() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.diamond()
    request = PlanRequest(budget_bytes=LARGE, batch=1, update="last-layer")
    body = plain_body(graph, naive_plan(graph, request).update_of, 1)
    body = with_recomputation(body, "left", "join.weight_gradient")
    return graph, naive_plan(graph, request, body=body, reuse=True, in_place=True)


def _inference() -> tuple[OpGraph, Plan]:
    graph = hand_graphs.inference()
    return graph, naive_plan(graph, PlanRequest(budget_bytes=LARGE, batch=4), micro_batch=2)


BASES: dict[str, Callable[[], tuple[OpGraph, Plan]]] = {
    "one-trip": _one_trip,
    "four-trips": _four_trips,
    "streamed": _streamed,
    "board": _on_a_board,
    "sliced": _sliced,
    "recomputed": _recomputed,
    "block": _block_of_one_trip,
    "block-of-two-trips": _block_of_two_trips,
    "fused": _fused,
    "used-up": _used_up_in_one_trip,
    "used-up-in-two-trips": _used_up_in_two_trips,
    "used-up-and-recomputed": _used_up_and_recomputed,
    "statistics": _statistics,
    "diamond": _diamond,
    "inference": _inference,
}


@cache
def bases() -> tuple[Case, ...]:
    """Return every base, built once."""
    return tuple(Case(name, *make()) for name, make in BASES.items())


def steps_of(case: Case, *phases: str) -> list[int]:
    """Return the indices of the steps of these phases."""
    return [
        index
        for index, step in enumerate(case.plan.steps)
        if case.graph.operation[step.operation].phase in phases
    ]


def with_step(plan: Plan, index: int, **changes: Any) -> Plan:
    """Return the plan with fields of one step changed."""
    steps = _steps(plan)
    steps[index] = steps[index].model_copy(update=changes)
    return _with_steps(plan, steps, len(plan.prologue), len(plan.epilogue))


def with_buffer(plan: Plan, place: int, **changes: Any) -> Plan:
    """Return the plan with fields of one buffer changed."""
    buffers = list(plan.buffers)
    buffers[place] = buffers[place].model_copy(update=changes)
    return plan.model_copy(update={"buffers": tuple(buffers)})


def with_request(plan: Plan, **changes: Any) -> Plan:
    """Return the plan for another request, with the hash of that request."""
    request = plan.request.model_copy(update=changes)
    certificate = plan.certificate.model_copy(update={"request_hash": request.content_hash()})
    return plan.model_copy(update={"request": request, "certificate": certificate})


def with_totals(plan: Plan, **changes: Any) -> Plan:
    """Return the plan with forged totals."""
    return plan.model_copy(update={"totals": plan.totals.model_copy(update=changes)})


def with_certificate(plan: Plan, **changes: Any) -> Plan:
    """Return the plan with a forged certificate."""
    return plan.model_copy(update={"certificate": plan.certificate.model_copy(update=changes)})


def with_level(plan: Plan, name: str, **changes: Any) -> Plan:
    """Return the plan with one level of the objective forged."""
    levels = tuple(
        level.model_copy(update=changes) if level.name == name else level
        for level in plan.certificate.levels
    )
    return with_certificate(plan, levels=levels)


def drop_step(plan: Plan, index: int) -> Plan:
    """Return the plan without one step, everything after it renumbered."""
    steps = _steps(plan)
    del steps[index]
    buffers = []
    for buffer in plan.buffers:
        start = buffer.start_step - (buffer.start_step > index)
        end = buffer.end_step - (buffer.end_step > index)
        buffers.append(_moved(buffer, start, max(end, start + 1)))
    before, after = len(plan.prologue), len(plan.epilogue)
    in_body = before <= index < len(plan.prologue) + len(plan.body)
    live = list(plan.live_bytes)
    if in_body:
        del live[index - before]
    plan = plan.model_copy(update={"buffers": tuple(buffers), "live_bytes": tuple(live)})
    return _with_steps(
        plan, steps, before - (index < before), after - (index >= len(steps) + 1 - after)
    )


def insert_step(plan: Plan, index: int, step: Step) -> Plan:
    """Return the plan with one more step in the body, everything after it renumbered."""
    steps = _steps(plan)
    steps.insert(index, step)
    buffers = tuple(
        _moved(b, b.start_step + (b.start_step >= index), b.end_step + (b.end_step > index))
        for b in plan.buffers
    )
    before = len(plan.prologue)
    live = list(plan.live_bytes)
    live.insert(index - before, live[min(index - before, len(live) - 1)])
    plan = plan.model_copy(update={"buffers": buffers, "live_bytes": tuple(live)})
    return _with_steps(plan, steps, before, len(plan.epilogue))


def move_step(plan: Plan, source: int, target: int) -> Plan:
    """Return the plan with one step of the body elsewhere; no lifetime is touched."""
    steps = _steps(plan)
    steps.insert(target, steps.pop(source))
    return _with_steps(plan, steps, len(plan.prologue), len(plan.epilogue))


def _moved(buffer: Buffer, start: int, end: int) -> Buffer:
    return buffer.model_copy(update={"start_step": start, "end_step": end})


def _with_steps(plan: Plan, steps: list[Step], before: int, after: int) -> Plan:
    last = len(steps) - after
    changes = {
        "prologue": tuple(steps[:before]),
        "body": tuple(steps[before:last]),
        "epilogue": tuple(steps[last:]),
    }
    return plan.model_copy(update=changes)


def _steps(plan: Plan) -> list[Step]:
    # Not plan.steps: a copy takes the cached steps of its original along.
    return [*plan.prologue, *plan.body, *plan.epilogue]
