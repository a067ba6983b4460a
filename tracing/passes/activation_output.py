"""Let the backward of an activation read the activation's output and not its input.

The output is usually saved anyway, as the input of the next layer; the input then can be
overwritten in place.
"""

from __future__ import annotations

from memplan.tracing.draft import Draft, View

__all__ = ["activation_needs_output"]


def activation_needs_output(draft: Draft) -> None:
    """Rewrite backward operations that decide by comparing with limits that clamping keeps.

    ``hardtanh``: the output lies strictly between the limits where the input does.
    ``leaky_relu`` with a positive slope: the output has the input's sign.
    """
    outputs: dict[tuple[str, View], View] = {}
    for operation in draft.operations:
        target, arguments = operation.target, operation.arguments
        if target in ("aten.hardtanh.default", "aten.leaky_relu.default"):
            outputs.setdefault((target, arguments[0]), draft.tensors[operation.writes[0]].whole())
        elif target == "aten.hardtanh_backward.default":
            gy, x, low, high = arguments
            output = outputs.get(("aten.hardtanh.default", x))
            if output is not None and output.strides == x.strides:
                operation.plain.arguments = (gy, output, low, high)
        elif target == "aten.leaky_relu_backward.default":
            gy, x, slope, is_result = arguments
            output = outputs.get(("aten.leaky_relu.default", x))
            if output is not None and slope > 0 and not is_result and output.strides == x.strides:
                operation.plain.arguments = (gy, output, slope, True)
