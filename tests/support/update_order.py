"""Where updates stand among steps that read a parameter later than the plain ones do."""

from __future__ import annotations

from collections.abc import Sequence

from memplan.ir.graph import Alternative, Operation

__all__ = ["updates_after_readers"]

Chosen = tuple[Operation, Alternative]


def updates_after_readers(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Return the same steps, each update behind the last one that reads its parameter."""
    order = list(chosen)
    for step in chosen:
        operation, _ = step
        if operation.phase != "update":
            continue
        at = order.index(step)
        readers = [
            place
            for place, (other, way) in enumerate(order)
            if other is not operation
            and any(operand.tensor == operation.parameter for operand in way.reads)
        ]
        last = max(readers, default=-1)
        if last > at:
            order.insert(last + 1, step)
            del order[at]
    return order
