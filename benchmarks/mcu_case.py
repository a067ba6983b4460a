"""What runs on the boards: a network, what of it is updated, and the RAM that it has in total."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.published_schemes import NETWORKS, SCHEMES, Scheme
from benchmarks.sparse_update import mask_of
from memplan.clients import pipeline
from memplan.ir.check import check
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.tracing.loaded import LoadedModel

__all__ = ["CASES", "Case", "plan_case", "trace_case"]

#: Granularity of a PMSAv8 MPU: strict mode opens single operands.
ALIGNMENT_BYTES = 32

Image = Literal["resident", "streamed"]


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table, once for each board.

    Attributes:
        name: of the row; also of the project's folder.
        factory: what builds the network.
        ram_bytes: the budget: arena, stack, .data and .bss.
        stack_bytes: what of it is the stack's.  The programs are measured; a deeper stack faults.
        static_bytes: what of it is for .data, .bss and alignment; the linker has the last word.
        scheme: a published sparse update; None: the planner chooses, float32.
        image: resident: in the arena when the step begins; streamed: asked for row by row.
        batch: samples of one step.
        seconds: time limit of the solver, in deterministic seconds.
        tolerance: largest difference from the torch executor; see ``Prepared``.
    """

    name: str
    factory: str
    ram_bytes: int
    stack_bytes: int = 1280
    static_bytes: int = 64
    scheme: Scheme | None = None
    image: Image = "resident"
    batch: int = 1
    seconds: float = 8.0
    tolerance: float = 1e-3


def _published(network: str, name: str, *, resident: float, streamed: float) -> list[Case]:
    scheme = next(each for each in SCHEMES if (each.network, each.name) == (network, name))
    factory = NETWORKS[network]
    return [
        Case(network, factory, int(resident * 1024), scheme=scheme),
        Case(
            f"{network}-streamed",
            factory,
            int(streamed * 1024),
            scheme=scheme,
            image="streamed",
        ),
    ]


#: The rows of the table, and the kilobytes that each must do with.  With a resident image they are
#: fewer than Tiny Training Engine was measured to take (``MEASURED_KILOBYTES``).
CASES: tuple[Case, ...] = (
    *_published("mbv2-w0.35", "99kb", resident=140, streamed=120),
    *_published("proxyless-w0.3", "98kb", resident=134.5, streamed=118),
    *_published("mcunet-5fps", "99kb", resident=140, streamed=128),
    Case("resnet8", "examples.mlperf_tiny:resnet8", 256 * 1024, batch=2),
)


def trace_case(case: Case, model: LoadedModel) -> OpGraph:
    """Return the graph of one training step, with ranked channels."""
    options = pipeline.GraphOptions(
        quantize=None if case.scheme is None else "int8",
        input_streamed=True if case.image == "streamed" else None,
    )
    return pipeline.rank_channels(pipeline.trace_model(model, options, case.batch), model)


def plan_case(case: Case, graph: OpGraph) -> Plan:
    """Return a plan whose arena leaves room for stack and static data; the same every time.

    Raises:
        PlanRejectedError: none was found, or the checker rejects it.
    """
    arena_bytes = case.ram_bytes - case.stack_bytes - case.static_bytes
    options = pipeline.RequestOptions(
        budget=arena_bytes // ALIGNMENT_BYTES * ALIGNMENT_BYTES,
        batch=case.batch,
        update="auto" if case.scheme is None else mask_of(graph, case.scheme),
        time_limit_seconds=case.seconds,
        deterministic=True,
    )
    request = pipeline.build_request(graph, options)
    answer = pipeline.solve(graph, request.model_copy(update={"alignment_bytes": ALIGNMENT_BYTES}))
    if answer.plan is None:
        found = answer.smallest_found_bytes
        raise PlanRejectedError(
            f"no plan for an arena of {request.budget_bytes:,} B was found; "
            + (f"the smallest that was takes {found:,} B" if found else "give more RAM")
        )
    report = check(graph, answer.plan)
    if not report.accepted:
        raise PlanRejectedError(f"the checker rejects the plan: {report}")
    return answer.plan
