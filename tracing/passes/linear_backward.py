"""The weight gradient of a linear layer in one canonical form, ``gy`` transposed times ``x``."""

from __future__ import annotations

from memplan.tracing.draft import Draft, View, contiguous_strides

__all__ = ["linear_weight_gradient"]


def linear_weight_gradient(draft: Draft) -> None:
    """Rewrite the matrix product that computes a parameter's gradient.

    ``mm(a, b)`` with a of shape (out, rows) and b of shape (rows, in) is the gradient of a weight
    (out, in); read transposed, it is that of a weight (in, out), and the factors swap.
    """
    readers = draft.readers()
    counts: dict[str, int] = {}
    for view in draft.gradients.values():
        counts[view.tensor] = counts.get(view.tensor, 0) + 1
    wanted = {view.tensor: (name, view) for name, view in draft.gradients.items()}
    for operation in draft.operations:
        if operation.target != "aten.mm.default" or operation.phase != "backward":
            continue
        (result,) = operation.writes
        if result not in wanted or result in readers or counts[result] != 1:
            continue
        name, gradient = wanted[result]
        tensor = draft.tensors[result]
        first, second = operation.arguments
        if tensor.is_whole(gradient):
            factors = (_transposed(first), second)
        elif _transposed(gradient) == tensor.whole():
            factors = (second, _transposed(first))
            tensor.shape = gradient.shape
            tensor.strides = contiguous_strides(draft, gradient.shape)
            draft.gradients[name] = tensor.whole()
        else:
            continue
        operation.plain.target = "memplan.linear_weight_gradient"
        operation.plain.arguments = factors


def _transposed(view: View) -> View:
    return View(view.tensor, view.shape[::-1], view.strides[::-1], view.offset)
