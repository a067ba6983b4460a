from __future__ import annotations

import pytest

from memplan.ir.graph import OpGraph
from memplan.solver.joint import extract
from tests.solver.problems import accepted_plan, line, model_of, solve_model
from tests.support.graph_builder import GraphBuilder, alternative
from tests.support.hand_graphs import diamond, statistics


def gap() -> OpGraph:
    """Return a line of seven operations whose lifetimes do not pack at their peak.

    Operation i reads the result before it, so that only one order is possible; the fourth reads
    the second's once more, the sixth the third's.  At most 11 B live, and 12 B are needed.
    """
    build = GraphBuilder("gap", mode="infer", symbolic=False, traced_batch=1)
    sizes = (6, 5, 2, 3, 3, 5, 6)
    again = {3: 1, 5: 2}
    for i, size in enumerate(sizes):
        build.tensor(f"t{i}", "activation", size)
        reads = [f"t{i - 1}"] if i else []
        if i in again:
            reads.append(f"t{again[i]}")
        build.operation(f"f{i}", "forward", alternative(reads, macs=10), [f"t{i}"])
    return build.build(["t6"])


@pytest.mark.parametrize(
    ("budget", "live_fits", "packing_fits"),
    [(12, True, True), (11, True, False), (10, False, False)],
)
def test_live_bytes_may_fit_where_addresses_do_not(
    budget: int, live_fits: bool, packing_fits: bool
) -> None:
    assert solve_model(model_of(gap(), budget, addresses=False))[1] == live_fits
    assert solve_model(model_of(gap(), budget, addresses=True))[1] == packing_fits


def test_what_lives_at_once_does_not_overlap() -> None:
    joint = model_of(gap(), 12)
    solver, feasible = solve_model(joint)
    assert feasible
    solution = extract(joint, solver)
    blocks = solution.lifetimes.blocks
    for i, a in enumerate(blocks):
        for j, b in enumerate(blocks[:i]):
            if a.start < b.end and b.start < a.end:
                first, second = sorted(
                    ((solution.offsets[i], a.size), (solution.offsets[j], b.size))
                )
                assert first[0] + first[1] <= second[0]
    accepted_plan(solution)


def test_a_shared_result_has_the_address_of_its_operand() -> None:
    joint = model_of(line(40, 40, 40, in_place=True), 40)
    solver, feasible = solve_model(joint)
    assert feasible
    for key, shares in joint.shares.items():
        if solver.boolean_value(shares):
            read = solver.value(joint.offset[key.read, key.copy])
            assert read == solver.value(joint.offset[key.written, key.computation])
    key = next(iter(joint.shares))
    joint.model.add(joint.offset[key.read, key.copy] != joint.offset[key.written, key.computation])
    joint.model.add(joint.shares[key] == 1)
    assert not solve_model(joint)[1]


def test_workspace_has_an_address_of_its_own() -> None:
    joint = model_of(statistics(), batch=2)
    solver, feasible = solve_model(joint)
    assert feasible
    (scratch,) = joint.scratch_offset
    assert solver.boolean_value(joint.way[scratch])
    accepted_plan(extract(joint, solver))


def test_offsets_are_in_units_of_the_alignment() -> None:
    joint = model_of(diamond(), alignment_bytes=32)
    solver, feasible = solve_model(joint)
    assert feasible
    plan = accepted_plan(extract(joint, solver))
    assert all(buffer.offset % 32 == 0 for buffer in plan.buffers)
