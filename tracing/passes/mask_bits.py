"""One bit per element in place of an activation's output, where the backward only compares it."""

from __future__ import annotations

from memplan.ir.units import Affine
from memplan.tracing.draft import (
    Draft,
    DraftOperation,
    DraftTensor,
    Recipe,
    View,
    contiguous_strides,
    elements,
)

__all__ = ["offer_mask_bits"]


def offer_mask_bits(draft: Draft) -> None:
    """Add a packed mask per clamping activation, and backward alternatives that read it.

    ``relu``: 0 < y.  ``hardtanh`` (relu6), and int8 that was clamped: low < y < high.  All let the
    gradient pass exactly where the mask is 1.
    """
    producers = draft.producers()
    masks: dict[tuple[str, float, float | None], tuple[DraftOperation, View]] = {}
    placed: dict[str, list[DraftOperation]] = {}
    for operation in draft.operations:
        limits = _limits(operation)
        if limits is None:
            continue
        gy, y = operation.arguments[:2]
        tensor = draft.tensors.get(y.tensor)
        producer = producers.get(y.tensor)
        if tensor is None or producer is None or producer.phase != "forward" or not y.shape:
            continue
        known = tensor.dtype == draft.tensors[operation.writes[0]].dtype
        if not known and operation.target != "memplan.range_backward":
            continue
        if not tensor.is_whole(y) or not _row_major(draft, tensor):
            continue
        key = (y.tensor, *limits)
        if key not in masks:
            masks[key] = _range_bits(draft, y, limits, producer)
            placed.setdefault(producer.id, []).append(masks[key][0])
        operation.alternatives.append(
            Recipe("from_bits", "memplan.apply_bits", (gy, masks[key][1]))
        )
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        operations.append(operation)
        operations.extend(placed.get(operation.id, ()))
    draft.operations = operations


def _limits(operation: DraftOperation) -> tuple[float, float | None] | None:
    if operation.target == "aten.threshold_backward.default":
        threshold = operation.arguments[2]
        return (threshold, None) if isinstance(threshold, int | float) else None
    if operation.target in ("aten.hardtanh_backward.default", "memplan.range_backward"):
        low, high = operation.arguments[2:]
        return low, high
    return None


def _row_major(draft: Draft, tensor: DraftTensor) -> bool:
    """Whether a sample (slice along the first dimension) is one run of bytes."""
    return tensor.strides == contiguous_strides(draft, tensor.shape)


def _range_bits(
    draft: Draft, y: View, limits: tuple[float, float | None], producer: DraftOperation
) -> tuple[DraftOperation, View]:
    per_sample = elements(y.shape[1:], draft.samples[0])
    size = Affine(y.shape[0].fixed, y.shape[0].per_sample) * (-(-per_sample // 8))
    bits = DraftTensor(f"{y.tensor}.bits", "activation", "bit", y.shape, y.strides, size)
    count = 1
    while bits.id in draft.tensors:
        count += 1
        bits.id = f"{y.tensor}.bits.{count}"
    draft.tensors[bits.id] = bits
    recipe = Recipe("plain", "memplan.range_bits", (y, *limits))
    operation = DraftOperation(
        bits.id, "forward", (bits.id,), [recipe], recomputable=True, origin=producer.origin
    )
    return operation, bits.whole()
