"""From values of the joint model back to a solution."""

from __future__ import annotations

from ortools.sat.python import cp_model

from memplan.solver.build_instance import fix_mask
from memplan.solver.cp import Assignment
from memplan.solver.joint.variables import JointModel
from memplan.solver.schedule import Block, Lifetimes, Table, live_bytes
from memplan.solver.solution import Solution, layout, worth

__all__ = ["extract", "extract_schedule"]

Values = cp_model.CpSolver | Assignment


def extract_schedule(
    joint: JointModel, values: Values
) -> tuple[Table, list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the table under the chosen mask, the schedule, and (work, computation) per step."""
    instance = joint.instance
    mask = {}
    for choice, literals in zip(instance.choices, joint.option, strict=True):
        for option, literal in zip(choice.options, literals, strict=True):
            if option is not None and values.boolean_value(literal):
                mask[choice.layer] = option
    fixed = fix_mask(instance, mask)
    running = sorted(
        (values.value(joint.start[key]), key)
        for key, runs in joint.runs.items()
        if values.boolean_value(runs)
    )
    schedule, computations = [], []
    for _, (v, c) in running:
        (w,) = (
            w
            for w in range(len(instance.works[v].ways))
            if values.boolean_value(joint.way[v, c, w])
        )
        name = instance.works[v].ways[w].name
        names = [way.name for way in fixed.works[v].ways]
        schedule.append((v, names.index(name)))
        computations.append((v, c))
    return Table.of(fixed), schedule, computations


def extract(joint: JointModel, values: Values) -> Solution:
    """Return the solution with exactly the lifetimes, sharing and addresses of the model."""
    table, schedule, computations = extract_schedule(joint, values)
    instance = table.instance
    step_of = {key: step for step, key in enumerate(computations)}
    instances: dict[tuple[int, int], list[int]] = {}  # (item, copy) -> [start, end]
    alignment = instance.alignment_bytes

    served_by: list[dict[int, int]] = [{} for _ in schedule]
    for (v, c, t, d), serves in joint.serves.items():
        if values.boolean_value(serves) and (v, c) in step_of:
            served_by[step_of[v, c]][t] = d
    for step, (v, way) in enumerate(schedule):
        for t in table.reads[v][way]:
            d = served_by[step].setdefault(t, 0)
            instances.setdefault((t, d), [0, 0])[1] = step + 1
    for step, (v, c) in enumerate(computations):
        first = step + (table.uses_up[v][schedule[step][1]] >= 0)
        for t in table.writes[v]:
            life = instances.setdefault((t, c), [first, first + 1])
            life[0], life[1] = first, max(life[1], first + 1)
            if t in table.kept and values.value(joint.end[t, c]) == joint.beyond:
                life[1] = len(schedule)
    shared = {
        (key.written, key.computation): (key.read, key.copy)
        for key, shares in joint.shares.items()
        if values.boolean_value(shares)
    }
    blocks: list[Block] = []
    offsets: list[int] = []
    block_of: dict[tuple[int, int], int] = {}
    for key in sorted(instances, key=lambda k: (instances[k][0], k)):
        (t, d), (start, end) = key, instances[key]
        if key in shared:
            index = block_of[key] = block_of[shared[key]]
            blocks[index].members.append((t, d, start, end))
            blocks[index].end = end
            continue
        block_of[key] = len(blocks)
        exact = instance.items[t].size_bytes[0]
        blocks.append(Block(start, end, table.size[t], exact, [(t, d, start, end)]))
        offsets.append(alignment * values.value(joint.offset[t, d]))
    workspace = []
    for step, ((v, c), (_, way)) in enumerate(zip(computations, schedule, strict=True)):
        scratch = table.workspace[v][way]
        workspace.append(len(blocks) if scratch else -1)
        if scratch:
            name = instance.works[v].ways[way].name
            names = [w.name for w in joint.instance.works[v].ways]
            exact = instance.works[v].ways[way].workspace_bytes[0]
            blocks.append(Block(step, step + 1, scratch, exact, []))
            offsets.append(alignment * values.value(joint.scratch_offset[v, c, names.index(name)]))
    lifetimes = Lifetimes(
        blocks=tuple(blocks),
        served=tuple({t: (block_of[t, d], d) for t, d in serving.items()} for serving in served_by),
        written=tuple(tuple(block_of[t, c] for t in table.writes[v]) for v, c in computations),
        workspace=tuple(workspace),
        live=live_bytes(blocks, len(schedule)),
    )
    total = layout(lifetimes, tuple(offsets), instance).arena_bytes
    return Solution(
        table, tuple(schedule), lifetimes, tuple(offsets), worth(table, schedule, total)
    )
