"""The common graph as memplan sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.planners.answer import Attempt
from benchmarks.planners.problem import Problem
from memplan.ir.answer import Answer
from memplan.ir.device import Device, Rates, Region
from memplan.ir.graph import Alternative, Operand, Operation, OpGraph, Tensor
from memplan.ir.limits import MAX_BYTES
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.ir.units import Affine
from memplan.solver import Progress, solve

__all__ = ["Planned", "as_graph", "as_request", "memplan", "plan_problem", "sequence_of"]

#: One unit of cost is one MAC, and takes one nanosecond.
_DEVICE_RATES = Rates(macs_per_second=10**9, moved_bytes_per_second=10**9)


def as_graph(problem: Problem) -> OpGraph:
    """Return the problem as an inference whose last results are tokens without bytes.

    Every operation that nobody reads writes such a token, which is an output: so it must run, and
    its block is freed behind it.
    """
    tensors = [_tensor(f"t{o}", size) for o, size in enumerate(problem.sizes_bytes)]
    outputs = []
    operations = []
    for operation, inputs in enumerate(problem.inputs):
        writes = [f"t{operation}"]
        if not problem.readers[operation]:
            writes.append(f"done{operation}")
            outputs.append(f"done{operation}")
            tensors.append(_tensor(f"done{operation}", 0))
        way = Alternative(
            name="plain",
            target="memplan.elementwise",
            reads=tuple(Operand(tensor=f"t{read}") for read in inputs),
            macs=Affine(problem.costs[operation]),
        )
        operations.append(
            Operation(
                id=f"op{operation}",
                phase="forward",
                writes=tuple(writes),
                alternatives=(way,),
                recomputable=problem.forward[operation],
            )
        )
    return OpGraph(
        name=problem.name,
        mode="infer",
        traced_batch=1,
        batch_symbolic=False,
        tensors=tuple(tensors),
        operations=tuple(operations),
        outputs=tuple(outputs),
    )


def _tensor(name: str, size_bytes: int) -> Tensor:
    return Tensor(
        id=name,
        role="activation",
        dtype="uint8",
        shape=(Affine(size_bytes),),
        strides=(Affine(1),),
        size_bytes=Affine(size_bytes),
    )


def as_request(
    budget_bytes: int, seconds: float, *, workers: int = 2, seed: int = 0
) -> PlanRequest:
    """Return the request: everything may run again, and addresses are exact to the byte."""
    region = Region(name="ram", kind="ram", size_bytes=MAX_BYTES, alignment_bytes=1)
    return PlanRequest(
        budget_bytes=budget_bytes,
        device=Device(name="common", regions=(region,), rates=_DEVICE_RATES),
        batch=1,
        compute_limit=None,
        alignment_bytes=1,
        time_limit_seconds=seconds,
        workers=workers,
        seed=seed,
    )


@dataclass(frozen=True)
class Planned:
    """memplan's answer in the terms of the common graph."""

    answer: Answer
    sequence: tuple[int, ...] | None
    cost_bound: int | None
    any_order_bound: int | None = None


def plan_problem(
    problem: Problem,
    budget_bytes: int,
    seconds: float,
    progress: Callable[[Progress], None] | None = None,
) -> Planned:
    """Plan a problem; the sequence is None where nothing was found."""
    answer = solve(as_graph(problem), as_request(budget_bytes, seconds), progress=progress)
    if answer.plan is None:
        return Planned(answer, None, None)
    certificate = answer.plan.certificate
    level = next(level for level in certificate.levels if level.name == "time_ns")
    of_every_order = certificate.lower_bound_time_ns
    return Planned(answer, sequence_of(answer.plan), level.bound, of_every_order)


def memplan(problem: Problem, budget_bytes: int, seconds: float) -> Attempt:
    """Return memplan's plan: order, recomputation and addresses."""
    planned = plan_problem(problem, budget_bytes, seconds)
    plan = planned.answer.plan
    if plan is None or planned.sequence is None:
        return Attempt(None, infeasible=planned.answer.status == "infeasible")
    offsets = tuple(plan.buffers[step.writes[0]].offset for step in plan.body)
    return Attempt(planned.sequence, planned.cost_bound, planned.any_order_bound, offsets=offsets)


def sequence_of(plan: Plan) -> tuple[int, ...]:
    """Return the operations of a plan's body in order."""
    return tuple(int(step.operation.removeprefix("op")) for step in plan.body)
