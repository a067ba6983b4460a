"""Graphs of a few operations whose best plans can be worked out on paper, and what tests need."""

from __future__ import annotations

from typing import Any

from ortools.sat.python import cp_model

from memplan.ir.answer import Answer
from memplan.ir.check import check
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Certificate, Level, Plan
from memplan.ir.request import PlanRequest
from memplan.solver.assemble import assemble
from memplan.solver.build_instance import build_instance
from memplan.solver.instance import Instance
from memplan.solver.joint import JointModel, build_joint_model
from memplan.solver.schedule import Table
from memplan.solver.solution import Solution
from tests.support.graph_builder import GraphBuilder, alternative

__all__ = [
    "accepted_plan",
    "fork",
    "instance_of",
    "line",
    "request",
    "skip",
    "solve_model",
    "steps",
    "table_of",
    "time_ns",
    "worth_of",
]

PLENTY = 1 << 20


def request(graph: OpGraph, budget_bytes: int = PLENTY, **changes: Any) -> PlanRequest:
    """Return a request for the traced batch, bytes not aligned, everything updated."""
    fields: dict[str, Any] = {
        "batch": graph.traced_batch,
        "update": "full",
        "alignment_bytes": 1,
        "time_limit_seconds": 1.0,
        "workers": 1,
    }
    return PlanRequest(budget_bytes=budget_bytes, **(fields | changes))


def instance_of(
    graph: OpGraph, budget_bytes: int = PLENTY, samples: int | None = None, **changes: Any
) -> Instance:
    """Return the instance of ``graph`` at a micro-batch (default: the whole batch)."""
    asked = request(graph, budget_bytes, **changes)
    return build_instance(graph, asked, samples or asked.batch)


def table_of(
    graph: OpGraph, budget_bytes: int = PLENTY, samples: int | None = None, **changes: Any
) -> Table:
    """Return the table of ``instance_of``, which must leave no choice of the mask."""
    return Table.of(instance_of(graph, budget_bytes, samples, **changes))


def steps(table: Table, *names: str) -> list[tuple[int, int]]:
    """Return the schedule of operations by name, each by its first way: ``"f"`` or ``"f:way"``."""
    works = table.instance.works
    index = {work.operation: number for number, work in enumerate(works)}
    schedule = []
    for name in names:
        operation, _, way = name.partition(":")
        ways = [w.name for w in works[index[operation]].ways]
        schedule.append((index[operation], ways.index(way) if way else 0))
    return schedule


def time_ns(*macs: int) -> int:
    """Return the time of operations of so many MACs that move nothing, at the host's rates."""
    return sum(1_000 - (-count // 10) for count in macs)


def solve_model(
    joint: JointModel, seconds: float = 10.0, fix_hints: bool = False
) -> tuple[cp_model.CpSolver, bool]:
    """Solve a joint model and tell whether it has a solution."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.fix_variables_to_their_hinted_value = fix_hints
    status = solver.solve(joint.model)
    assert status != cp_model.MODEL_INVALID, joint.model.validate()
    assert status != cp_model.UNKNOWN
    return solver, status in (cp_model.OPTIMAL, cp_model.FEASIBLE)


def model_of(
    graph: OpGraph, budget_bytes: int = PLENTY, addresses: bool = True, **changes: Any
) -> JointModel:
    """Return the joint model of ``instance_of``."""
    return build_joint_model(instance_of(graph, budget_bytes, **changes), addresses=addresses)


def worth_of(answer: Answer) -> tuple[int, int, int]:
    """Return (minus importance, time, bytes) of an answer with a plan."""
    assert answer.plan is not None
    totals = answer.plan.totals
    return (-totals.importance, totals.time_ns, totals.arena_bytes)


def accepted_plan(solution: Solution) -> Plan:
    """Return the plan of a solution once the checker has accepted it."""
    instance = solution.instance
    worth = solution.worth
    certificate = Certificate(
        status="feasible",
        levels=(
            Level(name="time_ns", sense="minimize", value=worth.time_ns, bound=None, gap=None),
            Level(
                name="arena_bytes", sense="minimize", value=worth.arena_bytes, bound=None, gap=None
            ),
        ),
        lower_bound_bytes=0,
        restrictions=(),
        solver="test",
        graph_hash=instance.graph.content_hash(),
        request_hash=instance.request.content_hash(),
    )
    plan = assemble(solution, certificate)
    verdicts = check(instance.graph, plan).verdicts
    assert not verdicts, [str(verdict) for verdict in verdicts]
    return plan


def line(*sizes: int, in_place: bool = False, recomputable: bool = True) -> OpGraph:
    """Return ``x -> f0 -> t0 -> f1 -> t1 ...``: each operation reads the one before it.

    ``sizes`` begins with the input's.
    """
    build = GraphBuilder("line", mode="infer", symbolic=False, traced_batch=1)
    last = build.tensor("x", "input", sizes[0])
    for i, size in enumerate(sizes[1:]):
        build.tensor(f"t{i}", "activation", size)
        pairs = [(0, 0)] if in_place else []
        build.operation(
            f"f{i}",
            "forward",
            alternative([last], macs=10, in_place=pairs),
            [f"t{i}"],
            recomputable=recomputable,
        )
        last = f"t{i}"
    return build.build([last])


def skip(recomputable: bool = True) -> OpGraph:
    """Return a line of five operations, the last of which reads the first's result once more.

    ======  ==========  ========  =====================  ==============================
    step    reads       writes    live, ``a`` kept       live, ``f`` runs again
    ======  ==========  ========  =====================  ==============================
    f       x 8         a 64      72                     72
    g       a           b 16      80                     88 (x stays)
    h       b           c 96      176                    120
    k       c           d 8       168                    112
    f                   a         -                      80
    join    d, a        out 8     80                     80
    ======  ==========  ========  =====================  ==============================

    So 176 B without recomputation, and 120 B with 10 extra MACs beside the 50 of one pass.
    """
    build = GraphBuilder("skip", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 8)
    for name, size, reads in (
        ("a", 64, ["x"]),
        ("b", 16, ["a"]),
        ("c", 96, ["b"]),
        ("d", 8, ["c"]),
        ("out", 8, ["d", "a"]),
    ):
        build.tensor(name, "activation", size)
        operation = {"a": "f", "b": "g", "c": "h", "d": "k", "out": "join"}[name]
        build.operation(
            operation, "forward", alternative(reads, macs=10), [name], recomputable=recomputable
        )
    return build.build(["out"])


def fork() -> OpGraph:
    """Return ``stem: x 5 -> s 100``, ``left: s -> p 10``, ``right: x -> q 10``, ``join: p, q``.

    The largest working set is 110 B (s and p), but whichever of p and q is computed last, the
    other, or x, is there while ``left`` runs: 115 B (left first) or 120 B (right first).
    """
    build = GraphBuilder("fork", mode="infer", symbolic=False, traced_batch=1)
    build.tensor("x", "input", 5)
    for name, operation, size, reads in (
        ("s", "stem", 100, ["x"]),
        ("q", "right", 10, ["x"]),
        ("p", "left", 10, ["s"]),
        ("out", "join", 10, ["p", "q"]),
    ):
        build.tensor(name, "activation", size)
        build.operation(
            operation, "forward", alternative(reads, macs=10), [name], recomputable=True
        )
    return build.build(["out"])
