"""Readable, unique ids: what an operation does, and at which layer.

A layer's own operation has the layer's name.  Any other is named after the layer that its first
operand comes from: ``layer1.0.conv2.add``, ``layer1.0.conv2.relu``.
"""

from __future__ import annotations

from memplan.tracing.draft import Draft, DraftOperation, View, replace_views

__all__ = ["give_readable_names"]

_SERVING = ("update", "clear", "accumulate", "apply")
_SHORT = {
    "aten._scaled_dot_product_flash_attention_for_cpu.default": "attention",
    "aten._scaled_dot_product_flash_attention_for_cpu_backward.default": "attention_backward",
    "aten._log_softmax_backward_data.default": "log_softmax_backward",
    "aten._softmax_backward_data.default": "softmax_backward",
    "aten.max_pool2d_with_indices.default": "max_pool2d",
    "aten.max_pool2d_with_indices_backward.default": "max_pool2d_backward",
    "memplan.max_pool_input_gradient": "max_pool_backward",
    "memplan.max_pool_positions": "positions",
    "memplan.range_bits": "bits",
    "memplan.gather_channels": "saved_slice",
    "memplan.conv_input_gradient": "input_gradient",
    "memplan.conv_input_gradient_int8w": "input_gradient",
    "memplan.add_int8": "add",
    "memplan.avg_pool_int8": "avg_pool2d",
    "memplan.mean_int8": "mean",
    "memplan.layer_norm_input_gradient": "input_gradient",
    "memplan.update_running_statistics": "statistics",
}
_PRODUCTS = ("aten.mm.default", "aten.bmm.default")


def give_readable_names(draft: Draft) -> None:
    """Rename operations and the tensors they write."""
    names = _Names(_outside(draft) | {op.id for op in draft.operations if op.phase in _SERVING})
    computing = _layer_of_parameter(draft)
    gradient_of = {view.tensor: name for name, view in draft.gradients.items()}
    anchors: dict[str, str] = {}
    renamed: dict[str, str] = {}
    for operation in draft.operations:
        if operation.phase in _SERVING:
            continue
        anchor = _anchor(draft, operation, anchors, computing)
        served = [gradient_of[name] for name in operation.writes if name in gradient_of]
        if operation.phase == "constant":
            name = _short(operation.target)
        elif served and len(operation.writes) == 1:
            name = f"{served[0]}.gradient"
        elif operation.phase == "forward" and _computes_its_layer(operation, computing):
            name = anchor
        elif (
            operation.phase == "backward"
            and operation.target in _PRODUCTS
            and any(view.tensor in computing for view in operation.reads())
        ):
            name = f"{anchor}.input_gradient"
        else:
            name = f"{anchor}.{_short(operation.target)}".lstrip(".")
        operation.id = names.unique(name)
        for index, tensor in enumerate(operation.writes):
            several = len(operation.writes) > 1
            renamed[tensor] = f"{operation.id}:{index}" if several else operation.id
            anchors[tensor] = anchor
    _rename(draft, renamed)


def _outside(draft: Draft) -> set[str]:
    """Return names that stay: of tensors that no operation writes."""
    written = {name for operation in draft.operations for name in operation.writes}
    return set(draft.tensors) - written


def _layer_of_parameter(draft: Draft) -> dict[str, str]:
    """Return for each parameter the path of its layer."""
    paths = {}
    for name, tensor in draft.tensors.items():
        if tensor.role == "parameter":
            paths[name] = tensor.layer or name.rpartition(".")[0] or name
    return paths


def _computes_its_layer(operation: DraftOperation, computing: dict[str, str]) -> bool:
    weights = [computing[v.tensor] for v in operation.reads() if v.tensor in computing]
    return bool(weights) and operation.target != "memplan.gather_channels"


def _anchor(
    draft: Draft, operation: DraftOperation, anchors: dict[str, str], computing: dict[str, str]
) -> str:
    """Return the layer that an operation belongs to, or comes after."""
    reads = operation.reads()
    for view in reads:
        if view.tensor in computing:
            return computing[view.tensor]
    if operation.target == "memplan.gather_channels" and operation.layer is not None:
        return operation.layer
    if operation.phase == "backward":  # rather the forward result that is differentiated
        reads = sorted(reads, key=lambda v: draft.tensors[v.tensor].role != "activation")
    return next((anchors[view.tensor] for view in reads if anchors.get(view.tensor)), "")


def _short(target: str) -> str:
    if target in _SHORT:
        return _SHORT[target]
    return target.removeprefix("aten.").removeprefix("memplan.").split(".")[0].lstrip("_")


class _Names:
    """Names given so far."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.counts: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return ``name``, with a number where it is taken, and take it."""
        candidate = name
        while candidate in self.taken:
            self.counts[name] = self.counts.get(name, 1) + 1
            candidate = f"{name}.{self.counts[name]}"
        self.taken.add(candidate)
        return candidate


def _rename(draft: Draft, renamed: dict[str, str]) -> None:
    def change(view: View) -> View:
        if view.tensor not in renamed:
            return view
        return View(renamed[view.tensor], view.shape, view.strides, view.offset)

    for operation in draft.operations:
        replace_views(operation, change)
        for way in operation.alternatives:
            way.in_place = tuple((change(view), write) for view, write in way.in_place)
        operation.writes = tuple(renamed[name] for name in operation.writes)
    for tensor in draft.tensors.values():
        tensor.id = renamed.get(tensor.id, tensor.id)
    draft.tensors = {tensor.id: tensor for tensor in draft.tensors.values()}
    draft.gradients = {name: change(view) for name, view in draft.gradients.items()}
    draft.outputs = [renamed.get(name, name) for name in draft.outputs]
