"""Alternatives that execute a whole block: an operation and, with it, updates.

The backward pass of an inverted residual block in channel strips (design, section 5) yields the
gradient of the block's input and, plane by plane, those of its weights, which never exist whole:
each is added to its weight, or to its accumulator, at once.  Such an alternative of the operation
that yields the input gradient *covers* those updates (``Alternative.covers``).  In a step that
takes it they are done: they do not run by themselves, and the step mutates what they mutate, after
the operation's own tensors and in the order of ``covers``.
"""

from __future__ import annotations

from memplan.ir.graph import Alternative, Operation, OpGraph
from memplan.ir.sizes import Mask, alternative_allowed, alternative_cost, updated_parameters

__all__ = ["block_cost", "cover_allowed", "covered_operations", "mutated_tensors"]


def covered_operations(graph: OpGraph, alternative: Alternative) -> tuple[Operation, ...]:
    """Return the updates and accumulations that an alternative performs as well."""
    return tuple(graph.operation[name] for name in alternative.covers)


def mutated_tensors(
    graph: OpGraph, operation: Operation, alternative: Alternative
) -> tuple[str, ...]:
    """Return what a step mutates, in the order of its ``mutates``."""
    names = operation.mutates
    for covered in covered_operations(graph, alternative):
        names += covered.mutates
    return names


def cover_allowed(graph: OpGraph, alternative: Alternative, mask: Mask) -> bool:
    """Tell whether the mask updates every parameter whose update an alternative covers."""
    if not alternative.covers:
        return True
    updated = updated_parameters(graph, mask)
    return all(
        operation.parameter in updated and _costliest(operation, 1, mask) is not None
        for operation in covered_operations(graph, alternative)
    )


def block_cost(
    graph: OpGraph, operation: Operation, alternative: Alternative, samples: int, mask: Mask
) -> tuple[int, int]:
    """Return (MACs, moved bytes) of one execution, with those of what it covers.

    A covered update costs what its own costliest way costs that the mask allows: the one fused
    with the gradient.
    """
    macs, moved = alternative_cost(operation, alternative, samples, mask)
    for covered in covered_operations(graph, alternative):
        own = _costliest(covered, samples, mask)
        if own is not None:
            macs, moved = macs + own[0], moved + own[1]
    return macs, moved


def _costliest(operation: Operation, samples: int, mask: Mask) -> tuple[int, int] | None:
    return max(
        (
            alternative_cost(operation, way, samples, mask)
            for way in operation.alternatives
            if alternative_allowed(operation, way, mask)
        ),
        default=None,
    )
