"""A known solution as a complete hint: what is missing from a hint is lost."""

from __future__ import annotations

from memplan.solver.joint.variables import JointModel
from memplan.solver.solution import Solution

__all__ = ["add_hints", "fits_model"]


def fits_model(joint: JointModel, solution: Solution) -> bool:
    """Tell whether the model has as many computations as the solution uses, and no blocks."""
    if any(solution.table.covers[work][way] for work, way in solution.schedule):
        return False
    count: dict[int, int] = {}
    for work, _ in solution.schedule:
        count[work] = count.get(work, 0) + 1
    return all(joint.computations[work] >= times for work, times in count.items())


def add_hints(joint: JointModel, solution: Solution) -> None:
    """Hint every decision variable with its value in ``solution``."""
    model, instance, fixed = joint.model, joint.instance, solution.instance
    mask = fixed.mask()
    model.model_proto.clear_solution_hint()
    for choice, literals in zip(instance.choices, joint.option, strict=True):
        for option, literal in zip(choice.options, literals, strict=True):
            model.add_hint(literal, option == mask.get(choice.layer))
    count: dict[int, int] = {}
    step_of: dict[tuple[int, int], int] = {}
    way_of: dict[tuple[int, int], str] = {}
    served: dict[tuple[int, int, int], int] = {}
    for step, (v, way) in enumerate(solution.schedule):
        c = count.get(v, 0)
        count[v] = c + 1
        step_of[v, c] = step
        way_of[v, c] = fixed.works[v].ways[way].name
        for t, (_, d) in solution.lifetimes.served[step].items():
            served[v, c, t] = d
    running = {
        key for key in joint.way if way_of.get(key[:2]) == instance.works[key[0]].ways[key[2]].name
    }
    for key, runs in joint.runs.items():
        model.add_hint(runs, key in step_of)
        model.add_hint(joint.start[key], step_of.get(key, 0))
    for which, literal in joint.way.items():
        model.add_hint(literal, which in running)
    for (v, c, t, d), literal in joint.serves.items():
        model.add_hint(literal, served.get((v, c, t)) == d)
    _hint_lifetimes(joint, solution, step_of, running)


def _hint_lifetimes(
    joint: JointModel,
    solution: Solution,
    step_of: dict[tuple[int, int], int],
    running: set[tuple[int, int, int]],
) -> None:
    model = joint.model
    alignment = joint.instance.alignment_bytes
    shared = set()
    scratch_at = {
        step: solution.offsets[block]
        for step, block in enumerate(solution.lifetimes.workspace)
        if block >= 0
    }
    for block, offset in zip(solution.lifetimes.blocks, solution.offsets, strict=True):
        for t, d, _, end in block.members:
            kept_to_end = joint.instance.items[t].kept and end == len(solution.schedule)
            model.add_hint(joint.end[t, d], joint.beyond if kept_to_end else end)
            if joint.offset:
                model.add_hint(joint.offset[t, d], offset // alignment)
        for (read, copy, _, _), (written, c, _, _) in zip(
            block.members, block.members[1:], strict=False
        ):
            shared.add((read, copy, written, c))
    for key, literal in joint.shares.items():
        taken = (key.read, key.copy, key.written, key.computation) in shared
        model.add_hint(literal, taken and (key.work, key.computation, key.way) in running)
    for (v, c, w), variable in joint.scratch_offset.items():
        step = step_of.get((v, c))
        if step in scratch_at and (v, c, w) in running:
            model.add_hint(variable, scratch_at[step] // alignment)
