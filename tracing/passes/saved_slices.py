"""Where only some input channels of a weight are updated, keep only those of the saved input.

Per sliceable layer an operation gathers the mask's input channels, and the weight gradient gets
a second way that reads the gathered slice (MCUNetV3's sparse update).
"""

from __future__ import annotations

from memplan.ir.graph import AxisSize
from memplan.tracing.draft import Draft, DraftOperation, Recipe, View

__all__ = ["offer_saved_slices"]

#: Positions of the saved input among the arguments of a weight gradient.
_GRADIENTS = {
    "memplan.conv_weight_gradient": 1,
    "memplan.conv_weight_gradient_int8x": 1,
    "memplan.linear_weight_gradient": 1,
}


def offer_saved_slices(draft: Draft) -> None:
    """Add gather operations and ``saved_slice`` alternatives, and say how gradients are cut."""
    producers = draft.producers()
    computing = {
        op.layer: op for op in draft.operations if op.phase == "forward" and op.layer is not None
    }
    gathers: dict[str, DraftOperation] = {}
    for layer in draft.layers:
        if not layer.axes or layer.weight is None:
            continue
        weight = draft.tensors[layer.weight]
        view = draft.gradients[layer.weight]
        gradient = draft.tensors[view.tensor]
        gradient.layer, gradient.slices = layer.id, weight.slices
        operation = producers[view.tensor]
        operation.layer = layer.id
        plain = operation.plain
        costs = {cut.axis: AxisSize(axis=cut.axis, channels=cut.channels) for cut in weight.slices}
        plain.slices = tuple(cost for axis, cost in costs.items() if axis == "output")
        position = _GRADIENTS.get(plain.target)
        if "input" not in costs or position is None:
            continue
        x: View = plain.arguments[position]
        plain.axes = ("whole", "output") if "output" in costs else ("whole",)
        gather, saved = _gather(draft, layer.id, x, costs["input"])
        arguments = list(plain.arguments)
        arguments[position] = saved
        operation.alternatives.append(
            Recipe(
                "saved_slice",
                plain.target,
                tuple(arguments),
                slices=(costs["input"],),
                axes=("input",),
            )
        )
        gathers[computing[layer.id].id] = gather
    operations: list[DraftOperation] = []
    for operation in draft.operations:
        operations.append(operation)
        if operation.id in gathers:
            operations.append(gathers[operation.id])
    draft.operations = operations


def _gather(draft: Draft, layer: str, x: View, cost: AxisSize) -> tuple[DraftOperation, View]:
    saved = draft.new_tensor(
        f"{layer}.saved_slice",
        "activation",
        draft.tensors[x.tensor].dtype,
        x.shape,
        layer=layer,
        slices=(AxisSize(axis="input", channels=cost.channels, dim=1),),
    )
    recipe = Recipe("plain", "memplan.gather_channels", (x, 1), slices=(cost,), axes=("input",))
    operation = DraftOperation(
        saved.id, "forward", (saved.id,), [recipe], layer=layer, recomputable=True
    )
    return operation, saved.whole()
