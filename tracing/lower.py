"""From flat ATen graphs, one per batch, to one draft without views.

The graphs are walked in lockstep; a number that differs between them becomes affine in the
micro-batch.  Views, aliases and copies that change nothing vanish: operands carry strided
geometry on the tensor that owns the bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import ModelError
from memplan.ir.graph import Role, SizeArgument, WeightSource
from memplan.ir.units import Affine
from memplan.tracing.capture import LABELS, Capture
from memplan.tracing.capture_arguments import arguments_by_name
from memplan.tracing.capture_forward import Forward
from memplan.tracing.capture_operators import NAMESPACE
from memplan.tracing.draft import (
    Draft,
    DraftOperation,
    NotAffineError,
    Recipe,
    View,
    contiguous_strides,
    elements,
)
from memplan.tracing.lower_values import DROPPED, Lines, dtype_name

__all__ = ["lower"]

#: Views and copies whose schema does not say that they only rename bytes.
_RENAMING = frozenset({"aten._unsafe_view.default", "aten.lift_fresh.default"})
#: Copies that are views where they keep type and strides.
_COPIES = frozenset({"aten.clone.default", "aten._to_copy.default", "aten.lift_fresh_copy.default"})


def lower(forward: Forward, captures: Sequence[Capture]) -> Draft:
    """Return the draft of captures of one model at different batches.

    Raises:
        NotAffineError: the captures differ by more than affine numbers.
        ModelError: an operation cannot be planned.
    """
    return _Lowering(forward, captures).run()


class _Lowering:
    def __init__(self, forward: Forward, captures: Sequence[Capture]) -> None:
        self.forward = forward
        self.captures = captures
        samples = tuple(capture.batch for capture in captures)
        self.lines = Lines(samples)
        coupled_by = "batch norm over batch statistics" if forward.sites else ""
        self.draft = Draft(forward.model.name, samples, coupled_by=coupled_by)
        #: Views, tuples of views and constants by node of the first capture.
        self.values: dict[fx.Node, Any] = {}
        #: What to add to a fake tensor's storage offset, where a copy was taken for its source.
        self.shifts: dict[str, Affine] = {}
        self.shift_of: dict[fx.Node, Affine] = {}

    def run(self) -> Draft:
        lists = [list(capture.graph.nodes) for capture in self.captures]
        if len({len(nodes) for nodes in lists}) > 1:
            raise NotAffineError("the number of operations depends on the batch")
        positions = [{node: i for i, node in enumerate(nodes)} for nodes in lists]
        placeholders = iter(self.captures[0].placeholders)
        for nodes in zip(*lists, strict=True):
            first = nodes[0]
            if first.op != "placeholder" and any(
                (node.op, node.target) != (first.op, first.target) for node in nodes[1:]
            ):
                raise NotAffineError("which operations run depends on the batch")
            self._same_operands(nodes, positions)
            if first.op == "placeholder":
                self._placeholder(nodes, next(placeholders))
            elif first.op == "get_attr":
                self._lifted_constant(first)
            elif first.op == "call_function":
                self._call(nodes)
        self._finish()
        return self.draft

    def _same_operands(
        self, nodes: tuple[fx.Node, ...], positions: list[dict[fx.Node, int]]
    ) -> None:
        seen = [
            [where[operand] for operand in node.all_input_nodes]
            for node, where in zip(nodes, positions, strict=True)
        ]
        if any(operands != seen[0] for operands in seen[1:]):
            raise NotAffineError("what an operation reads depends on the batch")

    # Leaves

    def _placeholder(self, nodes: tuple[fx.Node, ...], name: str) -> None:
        if not nodes[0].users and name not in self.captures[0].wanted:
            return
        forward = self.forward
        if name == LABELS:
            role: Role = "label"
        elif name in forward.trainable or name in forward.parameters:
            role = "parameter"
        elif name in forward.attributes:
            role = "constant"
        else:
            role = "input"
        source = None
        if role in ("parameter", "constant"):
            source = forward.sources.get(name) or WeightSource(kind="copy", names=(name,))
        view = self._new(name, role, [node.meta["val"] for node in nodes], source=source)
        self.values[nodes[0]] = view

    def _lifted_constant(self, node: fx.Node) -> None:
        value = getattr(node.graph.owning_module, str(node.target))
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            raise ModelError(
                f"{self.forward.model.name}: the trace holds a constant tensor without a name; "
                "register it as a buffer of the module"
            )
        number = value.item()
        output = self.draft.new_tensor(node.name, "activation", dtype_name(value.dtype), ())
        fill = Recipe(
            "plain",
            "aten.full.default",
            ((), number),
            {"dtype": self.lines.scalar([value.dtype])},
        )
        self.draft.operations.append(
            DraftOperation(node.name, "forward", (output.id,), [fill], recomputable=True)
        )
        self.values[node] = View(output.id, _fixed(value.shape), _fixed(value.stride()))

    def _new(self, name: str, role: Role, values: Sequence[torch.Tensor], **facts: Any) -> View:
        tensor = self.draft.new_tensor(
            name,
            role,
            dtype_name(values[0].dtype),
            self.lines.shape([value.shape for value in values]),
            self.lines.shape([value.stride() for value in values]),
            **facts,
        )
        return tensor.whole()

    # Calls

    def _call(self, nodes: tuple[fx.Node, ...]) -> None:
        first = nodes[0]
        if first.target is operator.getitem:
            source, index = first.args
            assert isinstance(source, fx.Node)
            assert isinstance(index, int)
            self.values[first] = self.values[source][index]
            if source in self.shift_of:
                self.shift_of[first] = self.shift_of[source]
            return
        target = first.target
        if not isinstance(target, torch._ops.OpOverload) or target.namespace not in (
            "aten",
            NAMESPACE,
        ):
            raise ModelError(
                f"{self.forward.model.name}: operation {target} is no ATen operation and cannot be "
                "planned; express it by torch functions"
            )
        if self._is_renaming(nodes):
            self._rename(nodes)
        else:
            self._operation(nodes, target)

    def _is_renaming(self, nodes: tuple[fx.Node, ...]) -> bool:
        target: Any = nodes[0].target
        returns = target._schema.returns
        if returns and returns[0].alias_info is not None and not target._schema.is_mutable:
            return True
        name = str(target)
        if name in _RENAMING:
            return True
        if name not in _COPIES:
            return False
        for node in nodes:
            source: Any = node.args[0]
            before, after = source.meta["val"], node.meta["val"]
            if before.dtype != after.dtype or before.stride() != after.stride():
                return False
            if before.shape != after.shape or not _is_dense(before):
                return False
        return True

    def _rename(self, nodes: tuple[fx.Node, ...]) -> None:
        first = nodes[0]
        source: Any = first.args[0]
        base = self.values[source]
        vals = [node.meta["val"] for node in nodes]
        if str(first.target) in _COPIES:
            self.values[first] = base
            self.shift_of[first] = base.offset
            return
        shift = self.shift_of.get(source, Affine(0))
        if shift != Affine(0):
            self.shift_of[first] = shift
        if isinstance(vals[0], torch.Tensor):
            self.values[first] = self._view(first, base, vals, shift)
        else:
            if len({len(val) for val in vals}) > 1:
                raise NotAffineError("the number of parts depends on the batch")
            self.values[first] = tuple(
                self._view(first, base, parts, shift) for parts in zip(*vals, strict=True)
            )

    def _view(
        self, node: fx.Node, base: View, values: Sequence[torch.Tensor], shift: Affine
    ) -> View:
        if dtype_name(values[0].dtype) != self.draft.tensors[base.tensor].dtype:
            raise ModelError(f"{node.target}: a view under another element type is not supported")
        offset = self.lines.line([int(value.storage_offset()) for value in values])
        return View(
            base.tensor,
            self.lines.shape([value.shape for value in values]),
            self.lines.shape([value.stride() for value in values]),
            offset + shift,
        )

    def _operation(self, nodes: tuple[fx.Node, ...], target: Any) -> None:
        first = nodes[0]
        name = str(target)
        self._refuse(first, target)
        arguments = tuple(
            self._argument(values) for values in zip(*(node.args for node in nodes), strict=True)
        )
        keywords = {
            key: self._argument([node.kwargs[key] for node in nodes])
            for key in first.kwargs
            if key not in DROPPED
        }
        origin, backward = first.meta.get("memplan", (None, False))
        vals = [node.meta["val"] for node in nodes]
        several = not isinstance(vals[0], torch.Tensor)
        results = list(zip(*vals, strict=True)) if several else [tuple(vals)]
        writes: list[str | None] = []
        views: list[View | None] = []
        for index, values in enumerate(results):
            if values[0] is None:
                writes.append(None)
                views.append(None)
                continue
            view = self._new(
                f"{first.name}:{index}" if several else first.name,
                "gradient" if backward else "activation",
                values,
            )
            writes.append(view.tensor)
            views.append(view)
        self.values[first] = tuple(views) if several else views[0]
        operation = DraftOperation(
            first.name,
            "backward" if backward else "forward",
            tuple(writes),
            [Recipe("plain", _our_name(name), arguments, keywords)],
            recomputable=not backward,
            origin=origin,
        )
        self.draft.operations.append(operation)
        if name == f"{NAMESPACE}.batch_norm_train.default":
            self._statistics(operation)

    def _refuse(self, node: fx.Node, target: Any) -> None:
        where = f"{self.forward.model.name}: {node.target}"
        if target._schema.is_mutable:
            raise ModelError(
                f"{where} changes {node.args[0]} in place (a buffer of the module or an input); "
                "a plan cannot repeat that: export the model without it"
            )
        if torch.Tag.nondeterministic_seeded in target.tags and _draws(node):
            raise ModelError(
                f"{where} draws random numbers, and only dropout may: export in eval mode "
                "(model.eval()), or without run_decompositions()"
            )
        vals = node.meta.get("val")
        parts = vals if isinstance(vals, (tuple, list)) else [vals]
        if not all(part is None or isinstance(part, torch.Tensor) for part in parts):
            raise ModelError(f"{where} returns a number that depends on data; it cannot be planned")
        if all(part is None for part in parts):
            raise ModelError(f"{where} returns nothing; it cannot be planned")

    def _argument(self, values: Sequence[Any]) -> Any:
        first = values[0]
        if isinstance(first, fx.Node):
            return self.values[first]
        if isinstance(first, (list, tuple)):
            if len({len(value) for value in values}) > 1:
                raise NotAffineError("the length of an argument depends on the batch")
            return tuple(self._argument(parts) for parts in zip(*values, strict=True))
        return self.lines.scalar(values)

    # Batch statistics

    def _statistics(self, operation: DraftOperation) -> None:
        plain = operation.plain
        *arguments, site_index = plain.arguments
        plain.arguments = tuple(arguments)
        site = self.forward.sites[site_index]
        x = arguments[0]
        if not site.running:
            return
        views = []
        for name in site.running:
            if name not in self.draft.tensors:
                self._new(
                    name,
                    "state",
                    [self.forward.attributes[name]] * len(self.captures),
                    source=WeightSource(kind="copy", names=(name,)),
                )
            self.draft.tensors[name].role = "state"
            views.append(self.draft.tensors[name].whole())
        channels = x.shape[1].fixed
        count = self.draft.affine(lambda m: elements(x.shape, m) // channels)
        mean, rstd = (self.draft.tensors[name].whole() for name in operation.writes[1:])
        self.draft.operations.append(
            DraftOperation(
                f"{operation.id}_statistics",
                "statistics",
                (),
                [
                    Recipe(
                        "plain",
                        "memplan.update_running_statistics",
                        (
                            views[0],
                            views[1],
                            mean,
                            rstd,
                            site.momentum,
                            count.fixed if count.per_sample == 0 else SizeArgument(size=count),
                            site.epsilon,
                        ),
                    )
                ],
                mutates=site.running,
                origin=operation.origin,
            )
        )

    # Results

    def _finish(self) -> None:
        first = self.captures[0]
        for name, node in zip(first.wanted, first.gradients, strict=True):
            if node is not None:
                self.draft.gradients[name] = self.values[node]
        written = {name for operation in self.draft.operations for name in operation.writes}
        for index, node in enumerate(first.results):
            assert node is not None
            view: View = self.values[node]
            tensor = self.draft.tensors[view.tensor]
            whole = self._covers(tensor.whole(), view)
            if not whole or view.tensor not in written or view.tensor in self.draft.outputs:
                copy = self.draft.new_tensor(
                    f"output_{index}", "activation", tensor.dtype, view.shape
                )
                self.draft.operations.append(
                    DraftOperation(
                        copy.id,
                        "forward",
                        (copy.id,),
                        [Recipe("plain", "aten.clone.default", (view,))],
                        recomputable=True,
                    )
                )
                view = copy.whole()
            self.draft.outputs.append(view.tensor)

    def _covers(self, whole: View, view: View) -> bool:
        """Whether a view reads all bytes of a tensor in their order."""
        return (
            view.offset == Affine(0)
            and whole.strides == contiguous_strides(self.draft, whole.shape)
            and view.strides == contiguous_strides(self.draft, view.shape)
            and all(elements(whole.shape, m) == elements(view.shape, m) for m in self.draft.samples)
        )


def _draws(node: fx.Node) -> bool:
    """Tell whether a call tagged as random draws numbers: attention without dropout does not."""
    return arguments_by_name(node).get("dropout_p") != 0.0


#: Operators of tracing's own that stay operations.
_OURS = ("dropout", "dropout_backward", "batch_norm_train", "requantize", "range_backward")


def _our_name(target: str) -> str:
    for name in _OURS:
        if target == f"{NAMESPACE}.{name}.default":
            return f"memplan.{name}"
    return target


def _fixed(sizes: Sequence[int]) -> tuple[Affine, ...]:
    return tuple(Affine(size) for size in sizes)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor's elements fill their storage range exactly once."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True
