"""Drop operations whose result is their operand, laid out in the same way."""

from __future__ import annotations

from memplan.ir.graph import PhantomArgument
from memplan.tracing.draft import Draft, DraftOperation, View, replace_views

__all__ = ["drop_identities"]

_WHOLE = 2**62


def drop_identities(draft: Draft) -> None:
    """Let readers of a copy that changes nothing read its source.

    Slices of a whole dimension (written to, or their gradient) and copies onto a tensor whose
    values are not read come from indexing and in-place code.
    """
    fixed = set(draft.outputs)
    sources: dict[str, View] = {}

    def follow(view: View) -> View:
        source = sources.get(view.tensor)
        if source is None:
            return view
        return View(source.tensor, view.shape, view.strides, source.offset + view.offset)

    operations: list[DraftOperation] = []
    for operation in draft.operations:
        replace_views(operation, follow)
        source = _source(operation)
        if source is not None and fixed.isdisjoint(operation.writes):
            (result,) = operation.writes
            tensor = draft.tensors[result]
            same = (source.shape, source.strides) == (tensor.shape, tensor.strides)
            if same and draft.tensors[source.tensor].dtype == tensor.dtype:
                sources[result] = source
                del draft.tensors[result]
                continue
        operations.append(operation)
    draft.operations = operations
    draft.gradients = {name: follow(view) for name, view in draft.gradients.items()}


def _source(operation: DraftOperation) -> View | None:
    """Return the operand whose values an operation hands through."""
    arguments = operation.arguments
    found = None
    if operation.target == "aten.slice_backward.default":
        gy, _, _, start, end, step = arguments
        if start == 0 and step == 1 and isinstance(end, int) and end >= _WHOLE:
            found = gy
    elif operation.target == "aten.slice_scatter.default":
        source, given = arguments[1], arguments[2:]
        start, end, step = (given + (0, None, None, 1)[len(given) :])[1:]
        whole_end = end is None or (isinstance(end, int) and end >= _WHOLE)
        if start in (None, 0) and whole_end and step == 1:
            found = source
    elif operation.target == "aten.copy.default" and isinstance(arguments[0], PhantomArgument):
        found = arguments[1]
    elif operation.target == "aten.clone.default":
        found = arguments[0]
    return found if isinstance(found, View) else None
