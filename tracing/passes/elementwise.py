"""Fuse chains of element-wise operations, where that cannot raise the peak.

An operation joins the one before it if it is the only reader of its result, has the same element
type, shape and strides, runs in the same phase, and reads besides only what is in memory anyway:
numbers, weights, constants, or operands that the chain reads already.  So no intermediate exists,
and nothing must be available earlier than before.
"""

from __future__ import annotations

from typing import Any

from memplan.ir.graph import RunningArgument
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View
from memplan.tracing.passes.support import ELEMENTWISE

__all__ = ["fuse_elementwise_chains"]

_RESIDENT = ("parameter", "constant")
_RUNNING = RunningArgument(running=True)


def fuse_elementwise_chains(draft: Draft) -> None:
    """Join chains of two or more operations to one ``memplan.elementwise`` program."""
    fixed = set(draft.outputs) | {view.tensor for view in draft.gradients.values()}
    readers = draft.readers()
    heads: dict[str, DraftOperation] = {}
    absorbed: set[str] = set()
    programs: dict[str, list[tuple[Any, ...]]] = {}
    for operation in draft.operations:
        if not _is_step(operation):
            continue
        head = _head(draft, operation, heads, readers, fixed)
        if head is None:
            heads[operation.writes[0]] = operation
            programs[operation.id] = [_entry(operation, None)]
            continue
        previous = head.writes[0]
        programs[head.id].append(_entry(operation, previous))
        del heads[previous]
        head.writes = operation.writes
        head.layer = head.layer or operation.layer
        heads[operation.writes[0]] = head
        absorbed.add(operation.id)
        del draft.tensors[previous]
    for operation in draft.operations:
        program = programs.get(operation.id, [])
        if len(program) > 1:
            operation.alternatives = [Recipe("plain", "memplan.elementwise", tuple(program))]
    draft.operations = [op for op in draft.operations if op.id not in absorbed]


def _is_step(operation: DraftOperation) -> bool:
    return (
        operation.target in ELEMENTWISE
        and operation.phase in ("forward", "backward")
        and len(operation.writes) == 1
        and not operation.plain.keywords
    )


def _head(
    draft: Draft,
    operation: DraftOperation,
    heads: dict[str, DraftOperation],
    readers: dict[str, list[DraftOperation]],
    fixed: set[str],
) -> DraftOperation | None:
    """Return the chain that an operation may join."""
    (result,) = operation.writes
    output = draft.tensors[result]
    for view in operation.reads():
        head = heads.get(view.tensor)
        if head is None or head.phase != operation.phase or view.tensor in fixed:
            continue
        if readers.get(view.tensor) != [operation]:
            continue
        before = draft.tensors[view.tensor]
        same = (before.dtype, before.shape, before.strides)
        if not before.is_whole(view) or same != (output.dtype, output.shape, output.strides):
            continue
        others = [other for other in operation.reads() if other.tensor != view.tensor]
        if len([other for other in operation.reads() if other.tensor == view.tensor]) != 1:
            continue
        known = {other.tensor for other in head.reads()}
        if all(
            other.tensor in known or draft.tensors[other.tensor].role in _RESIDENT
            for other in others
        ):
            return head
    return None


def _entry(operation: DraftOperation, running: str | None) -> tuple[Any, ...]:
    arguments = tuple(
        _RUNNING if isinstance(argument, View) and argument.tensor == running else argument
        for argument in operation.arguments
    )
    return (operation.target, arguments, ())
