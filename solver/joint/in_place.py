"""Results in the bytes of an operand that dies: declared pairs only, exact overlap."""

from __future__ import annotations

from collections import defaultdict

from memplan.solver.joint.variables import JointModel, Literal, Sharing

__all__ = ["add_in_place"]


def add_in_place(joint: JointModel) -> None:
    """Add a literal per declared pair, computation of the writer and instance of the operand."""
    model, instance = joint.model, joint.instance
    takes: defaultdict[tuple[int, int], list[Literal]] = defaultdict(list)
    gives: defaultdict[tuple[int, int], list[Literal]] = defaultdict(list)
    for v, work in enumerate(instance.works):
        for w, way in enumerate(work.ways):
            for read, written in way.in_place:
                if not _same_size(joint, read, written):
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
                        takes[written, c].append(shares)
                        gives[read, d].append(shares)
    for literals in (*takes.values(), *gives.values()):
        model.add_at_most_one(literals)


def _same_size(joint: JointModel, read: int, written: int) -> bool:
    first, second = joint.instance.items[read], joint.instance.items[written]
    return first.size_bytes == second.size_bytes and (
        first.choice == second.choice or len(set(first.size_bytes)) == 1
    )
