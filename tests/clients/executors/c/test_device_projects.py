"""Exported plans on boards: every bit as on the host, and no step beyond its declared operands."""

from __future__ import annotations

from pathlib import Path

import pytest

from memplan.clients.executors.c.device import build_program, run_program
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.clients.executors.c.host import build_host, run_host
from memplan.clients.executors.c.values import first_values, input_parts
from memplan.clients.export.c import write_project
from memplan.ir.check import check
from memplan.ir.request import PlanRequest
from tests.clients.executors.bodies import random_body
from tests.clients.executors.c.projects import export
from tests.clients.executors.kernels.test_row_strips import forward_plan
from tests.clients.executors.training import random_inputs, random_mask, traced
from tests.support.int8_networks import Residual, quantized
from tests.support.naive_plan import naive_plan

pytestmark = pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)
STACK_BYTES = 2048


@pytest.mark.parametrize(
    ("model", "boards"),
    [
        ("mobilenet", (("mps2-an500", False), ("mps3-an547", True))),
        ("encoder", (("mps3-an547", True),)),
    ],
)
def test_boards_give_the_bits_of_the_host(
    tmp_path: Path, model: str, boards: tuple[tuple[str, bool], ...]
) -> None:
    made = traced(model)
    graph, weights = made.graph, made.weights
    # Slices, recomputation, in-place results, gradients added up over two trips.
    mask = random_mask(graph, seed=5)
    plan = naive_plan(
        graph,
        PlanRequest(
            budget_bytes=2**40, batch=2, update=mask, compute_limit=None, alignment_bytes=32
        ),
        mask,
        micro_batch=1,
        body=random_body(graph, mask, 2, seed=5, plain=1.0),
        reuse=True,
        in_place=True,
    )
    assert check(graph, plan).accepted
    project = write_project(graph, plan, first_values(graph, plan, weights), tmp_path / "project")
    samples = [random_inputs(graph, 2, classes=made.classes, seed=seed) for seed in range(2)]
    ids = (project.input_ids, project.parameter_ids, project.output_ids)
    host = run_host(build_host(project.folder), graph, plan, ids, weights, samples)

    batches = [input_parts(graph, plan, project.input_ids, inputs) for inputs in samples]
    ram_bytes = (project.arena_bytes + STACK_BYTES + 1024) // 32 * 32
    for board, strict in boards:
        program = build_program(
            project.folder, board, ram_bytes, stack_bytes=STACK_BYTES, strict=strict
        )
        run = run_program(program, batches)
        assert run.results == host.results
        assert set(run.parameters) == set(project.parameter_ids)
        assert program.arena_bytes == plan.totals.arena_bytes
        assert run.trace is not None and run.trace.outside_accesses == 0
        assert len(program.operations) == len(run.trace.step_instructions)


@pytest.mark.parametrize(("board", "strict"), [("mps2-an500", False), ("mps3-an547", True)])
def test_rows_of_a_streamed_image_come_from_the_file(
    tmp_path: Path, board: str, strict: bool
) -> None:
    case = quantized(Residual, size=32, mode="infer", input_streamed=True)
    # Two trips of two samples: each trip has its own place in the file.
    plan = forward_plan(case.graph, {"stem": "rows_streamed", "stem.add": "rows"}, 4, 2)
    exported = export(case, plan, tmp_path / "project")
    samples = [case.inputs, {name: value.flip(0) for name, value in case.inputs.items()}]
    host = exported.run(samples)

    project = exported.project
    ram_bytes = (project.arena_bytes + STACK_BYTES + 1024) // 32 * 32
    program = build_program(
        project.folder, board, ram_bytes, stack_bytes=STACK_BYTES, strict=strict
    )
    run = run_program(
        program, [input_parts(case.graph, plan, project.input_ids, batch) for batch in samples]
    )
    assert run.results == host.results
    assert run.outputs[0] != run.outputs[1]
    assert run.trace is not None and run.trace.outside_accesses == 0
