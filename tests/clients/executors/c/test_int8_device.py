"""int8 steps on boards, whose processors take two products at once: every bit as on the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from memplan.clients.executors.c.device import build_program, run_program
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.clients.executors.c.host import build_host, run_host
from memplan.clients.executors.c.values import first_values, input_parts
from memplan.clients.export.c import write_project
from memplan.ir.check import check
from memplan.ir.request import PlanRequest
from tests.clients.executors.bodies import random_body
from tests.clients.executors.training import random_mask
from tests.support.int8_networks import Mixed, Residual, quantized
from tests.support.naive_plan import naive_plan

pytestmark = pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)
STACK_BYTES = 2048


@pytest.mark.parametrize(
    ("network", "size", "board", "strict"),
    [(Residual, 24, "mps2-an500", False), (Mixed, 17, "mps3-an547", True)],
)
def test_boards_give_the_bits_of_the_host(
    tmp_path: Path, network: type[nn.Module], size: int, board: str, strict: bool
) -> None:
    case = quantized(network, size=size, batch=2)
    graph, weights = case.graph, dict(case.weights)
    mask = random_mask(graph, seed=1)
    wanted = PlanRequest(
        budget_bytes=2**40, batch=2, update=mask, compute_limit=None, alignment_bytes=32
    )
    body = random_body(graph, mask, 2, seed=5, plain=1.0)
    plan = naive_plan(graph, wanted, mask, micro_batch=1, body=body, reuse=True, in_place=True)
    assert check(graph, plan).accepted
    project = write_project(graph, plan, first_values(graph, plan, weights), tmp_path / "project")
    ids = (project.input_ids, project.parameter_ids, project.output_ids)
    host = run_host(build_host(project.folder), graph, plan, ids, weights, [case.inputs])

    ram_bytes = (project.arena_bytes + STACK_BYTES + 1024) // 32 * 32
    program = build_program(
        project.folder, board, ram_bytes, stack_bytes=STACK_BYTES, strict=strict
    )
    run = run_program(program, [input_parts(graph, plan, project.input_ids, case.inputs)])
    assert run.results == host.results
    assert run.trace is not None
    assert run.trace.outside_accesses == 0
