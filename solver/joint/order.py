"""When computations take place: one per step, producers first, updates after all readers."""

from __future__ import annotations

from memplan.solver.joint.variables import JointModel

__all__ = ["add_order"]


def add_order(joint: JointModel) -> None:
    """Add start steps; computations of one operation are numbered in the order of time."""
    model = joint.model
    steps = []
    for (v, c), runs in joint.runs.items():
        first, last = joint.windows.get((v, c), (0, joint.horizon - 1))
        start = joint.start[v, c] = model.new_int_var(first, last, f"start_{v}_{c}")
        steps.append(model.new_optional_fixed_size_interval_var(start, 1, runs, f"step_{v}_{c}"))
        if c:
            model.add(start > joint.start[v, c - 1]).only_enforce_if(runs)
    model.add_no_overlap(steps)
    _add_updates_last(joint)
    _add_dense_steps(joint)


def _add_updates_last(joint: JointModel) -> None:
    """A parameter is rewritten after every computation that reads its old value."""
    model, works = joint.model, joint.instance.works
    for u, update in enumerate(works):
        for name in update.mutates:
            for v, work in enumerate(works):
                reading = [w for w, way in enumerate(work.ways) if name in way.stores]
                if v == u or not reading:
                    continue
                for c in range(joint.computations[v]):
                    for w in reading:
                        model.add(joint.start[v, c] < joint.start[u, 0]).only_enforce_if(
                            joint.way[v, c, w], joint.runs[u, 0]
                        )


def _add_dense_steps(joint: JointModel) -> None:
    """No empty steps before the last one: schedules that differ by gaps alone are one."""
    if joint.windows:
        return
    total = sum(joint.runs.values())
    for key, runs in joint.runs.items():
        joint.model.add(joint.start[key] < total).only_enforce_if(runs)
