"""From when until when each instance of a tensor is kept: retention intervals.

As in MOCCASIN (Bartan et al., ICML 2023): an instance has one interval from its computation to
its last reader, and each read is served by one instance.  O(n) integers, no R/S matrices.
"""

from __future__ import annotations

from memplan.solver.joint.variables import JointModel, Literal

__all__ = ["add_retention"]


def add_retention(joint: JointModel) -> None:
    """Add which instance serves each read, and the end of each instance."""
    model, instance = joint.model, joint.instance
    for t, item in enumerate(instance.items):
        producer = instance.producer.get(t)
        if producer is None:
            joint.end[t, 0] = model.new_int_var(1, joint.horizon, f"end_{t}_0")
            continue
        for d in range(joint.computations[producer]):
            end = joint.end[t, d] = model.new_int_var(1, joint.beyond, f"end_{t}_{d}")
            runs, start = joint.runs[producer, d], joint.start[producer, d]
            late = joint.late(producer, d)
            model.add(end >= start + 1 + sum(late)).only_enforce_if(runs)
            if item.kept and d == 0:
                model.add(runs == 1)
        if item.kept:
            _add_kept(joint, t, producer)
    used: dict[tuple[int, int], list[Literal]] = {}
    for v, work in enumerate(instance.works):
        for c in range(joint.computations[v]):
            for t in sorted({t for way in work.ways for t in way.reads}):
                _add_read(joint, v, c, t, used)
            _add_used_up(joint, v, c)
    _add_nothing_idle(joint, used)


def _add_read(
    joint: JointModel, v: int, c: int, t: int, used: dict[tuple[int, int], list[Literal]]
) -> None:
    model, instance = joint.model, joint.instance
    reading = [joint.way[v, c, w] for w, way in enumerate(instance.works[v].ways) if t in way.reads]
    producer = instance.producer.get(t)
    start = joint.start[v, c]
    if producer is None:
        for literal in reading:
            model.add(joint.end[t, 0] >= start + 1).only_enforce_if(literal)
        return
    served = []
    for d in range(joint.computations[producer]):
        serves = joint.serves[v, c, t, d] = model.new_bool_var(f"serves_{v}_{c}_{t}_{d}")
        served.append(serves)
        used.setdefault((producer, d), []).append(serves)
        model.add_implication(serves, joint.runs[producer, d])
        model.add(joint.start[producer, d] < start).only_enforce_if(serves)
        model.add(joint.end[t, d] >= start + 1).only_enforce_if(serves)
    model.add(sum(served) == sum(reading))


def _add_used_up(joint: JointModel, v: int, c: int) -> None:
    """What a way uses up dies with it."""
    model = joint.model
    start = joint.start[v, c]
    for w, way in enumerate(joint.instance.works[v].ways):
        t = way.uses_up
        if t < 0:
            continue
        literal = joint.way[v, c, w]
        producer = joint.instance.producer.get(t)
        for d in range(1 if producer is None else joint.computations[producer]):
            here = [literal] if producer is None else [literal, joint.serves[v, c, t, d]]
            model.add(joint.end[t, d] == start + 1).only_enforce_if(here)


def _add_kept(joint: JointModel, t: int, producer: int) -> None:
    """An output is there at the end, in one of its instances."""
    model = joint.model
    held = []
    for d in range(joint.computations[producer]):
        holds = model.new_bool_var(f"holds_{t}_{d}")
        held.append(holds)
        model.add_implication(holds, joint.runs[producer, d])
        model.add(joint.end[t, d] == joint.beyond).only_enforce_if(holds)
    model.add_exactly_one(held)


def _add_nothing_idle(joint: JointModel, used: dict[tuple[int, int], list[Literal]]) -> None:
    """A computation that serves nobody does not take place (it could be left out)."""
    items = joint.instance.items
    for (v, c), runs in joint.runs.items():
        work = joint.instance.works[v]
        if work.mutates or any(items[t].kept for t in work.writes):
            continue
        model = joint.model
        model.add_bool_or([*used.get((v, c), []), ~runs])
