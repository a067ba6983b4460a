"""Results in the bytes of an operand that dies: declared pairs only, exact overlap."""

from __future__ import annotations

from collections import defaultdict

from memplan.solver.joint.variables import JointModel, Literal, Sharing

__all__ = ["add_in_place"]

#: Two options, (choice, option) each, under which operand and result differ in size.
Conflict = tuple[tuple[int, int], tuple[int, int]]


def add_in_place(joint: JointModel) -> None:
    """Add a literal per declared pair, computation of the writer and instance of the operand."""
    model, instance = joint.model, joint.instance
    takes: defaultdict[tuple[int, int], list[Literal]] = defaultdict(list)
    gives: defaultdict[tuple[int, int], list[Literal]] = defaultdict(list)
    for v, work in enumerate(instance.works):
        for w, way in enumerate(work.ways):
            for read, written in way.in_place:
                conflicts = _size_conflicts(joint, read, written)
                if conflicts is None:
                    continue
                producer = instance.producer.get(read)
                for c in range(joint.computations[v]):
                    for d in range(1 if producer is None else joint.computations[producer]):
                        key = Sharing(v, c, w, read, d, written)
                        shares = joint.shares[key] = model.new_bool_var(f"shares_{key}")
                        model.add_implication(shares, joint.way[v, c, w])
                        if producer is not None:
                            model.add_implication(shares, joint.serves[v, c, read, d])
                        model.add(joint.end[read, d] == joint.start[v, c] + 1).only_enforce_if(
                            shares
                        )
                        for first, second in conflicts:
                            excluded = [
                                ~joint.option[side][o] for side, o in {first, second} if side >= 0
                            ]
                            model.add_bool_or([~shares, *excluded])
                        takes[written, c].append(shares)
                        gives[read, d].append(shares)
    for literals in (*takes.values(), *gives.values()):
        model.add_at_most_one(literals)


def _size_conflicts(joint: JointModel, read: int, written: int) -> list[Conflict] | None:
    """Return the pairs of options under which the sizes differ; None: they always do."""
    operand, result = joint.instance.items[read], joint.instance.items[written]
    together = operand.choice == result.choice
    pairs = [
        (((operand.choice, i), (result.choice, j)), first == second)
        for i, first in enumerate(operand.size_bytes)
        for j, second in enumerate(result.size_bytes)
        if not together or i == j
    ]
    if not any(equal for _, equal in pairs):
        return None
    return [options for options, equal in pairs if not equal]
