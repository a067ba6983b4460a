"""Free the batch of a graph that was exported at a fixed one.

Such a graph has the batch baked into sizes of ``view``, ``expand``, ``arange`` and factory
functions.  The old batch and a new one are propagated together on fake tensors; where an
element count no longer fits, the dimension that holds the batch is found and replaced by a
multiple of the first input's size.  The rule guesses, so its result is used only if it computes,
sample for sample, what the original graph does (``verify_batch``).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_BATCH
from memplan.tracing.loaded import LoadedModel
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.loaders.fake_run import (
    at_batch,
    attribute,
    check_recurrent,
    checked_bytes,
    fake_inputs,
    fake_like,
    run_fake,
)
from memplan.tracing.loaders.quiet import quietly
from memplan.tracing.loaders.verify_batch import same_per_sample

__all__ = ["batch_free"]

_VIEWS = frozenset({"view", "reshape", "_unsafe_view"})
_FACTORIES = frozenset({"zeros", "ones", "empty", "full", "rand", "randn"})
_NEW_FACTORIES = frozenset({"new_zeros", "new_ones", "new_empty", "new_full"})


@dataclass(frozen=True, slots=True)
class _Policy:
    """How to read what is ambiguous."""

    #: Which ``arange`` up to the old batch count samples, by their order: a bit each.
    scaled_ranges: int
    #: Of several dimensions that a view may hold the batch in, the last.
    last_dimension: bool
    #: Of the dimensions of a new tensor that equal the batch (the state of a recurrent layer has
    #: it in the middle): position among them, or None for the leading one only.
    of_new: int | None


_POLICIES = tuple(
    _Policy(ranges, last, of_new)
    # All ranges, none, or one of the first four (where the batch is 1, a range over heads looks
    # like one over samples).
    for last, of_new, ranges in itertools.product((False, True), (None, 0, -1), (-1, 0, 1, 2, 4, 8))
)


@quietly()
def batch_free(loaded: LoadedModel) -> LoadedModel:
    """Return the model with a forward graph that runs at any batch, if there is a proved one.

    Else ``batch_free`` is False and a note says why, and how to export the model again.

    Raises:
        ModelError: the graph does not compute even at its own batch.
    """
    if not 1 <= loaded.batch <= MAX_BATCH:
        raise ModelError(f"{loaded.name}: a batch of {loaded.batch}; 1 to {MAX_BATCH} are possible")
    try:
        run_fake(loaded.forward, loaded.inputs)
    except Exception as error:  # operations refuse operands in many ways
        raise ModelError(
            f"{loaded.name}: the graph does not compute ({one_line(error, 200)})"
        ) from None
    reason = ""
    if loaded.batch_free:
        fault = _fault_at(loaded, loaded.forward)
        if fault is None:
            return loaded
        reason = fault  # torch freed the first input, but something else is baked in
    for forward, fault in _candidates(loaded):
        if forward is None:
            reason = reason or fault
            continue
        problem = _fault_at(loaded, forward)
        if problem is None:
            problem = same_per_sample(loaded, forward)
        if problem is None:
            return dataclasses.replace(loaded, forward=forward, batch_free=True)
        reason = reason or problem
    return _fixed(loaded, reason)


def _fixed(loaded: LoadedModel, reason: str) -> LoadedModel:
    note = (
        f"the batch is fixed at {loaded.batch} ({reason}); for other batches export with "
        "torch.export.export(model, inputs, dynamic_shapes=...) and a free leading dimension"
    )
    return dataclasses.replace(loaded, batch_free=False, notes=(*loaded.notes, note))


def _fault_at(loaded: LoadedModel, forward: fx.GraphModule) -> str | None:
    """Run on fake tensors at two other batches; say what is wrong."""
    old = loaded.batch
    before, _ = run_fake(loaded.forward, loaded.inputs)
    for new in (old + 1, 2 * old + 3):
        try:
            after, _ = run_fake(forward, at_batch(loaded.inputs, old, new))
        except Exception as error:  # operations refuse sizes in many ways
            return f"at batch {new}: {one_line(error, 120)}"
        for position, (left, right) in enumerate(zip(before, after, strict=True)):
            if not _grew(left.shape, right.shape, old, new) or (
                position == 0 and left.shape[:1] == (old,) and right.shape[0] != new
            ):
                return f"at batch {new} an output of {list(left.shape)} is {list(right.shape)}"
    return None


def _grew(before: Sequence[int], after: Sequence[int], old: int, new: int) -> bool:
    """Tell whether sizes are equal, or multiples of the batch that followed it."""
    return len(before) == len(after) and all(
        size == grown or (size % old == 0 and grown == size // old * new)
        for size, grown in zip(before, after, strict=True)
    )


def _candidates(loaded: LoadedModel) -> Iterator[tuple[fx.GraphModule | None, str]]:
    seen: set[str] = set()
    for policy in _POLICIES:
        try:
            forward = _Rewriter(loaded, policy).rewrite()
        except Exception as error:  # a wrong guess may fail anywhere
            yield None, one_line(error, 120)
            continue
        text = str(forward.graph)
        if text not in seen:
            seen.add(text)
            yield forward, ""


class _Rewriter:
    """Propagates both batches and rewrites sizes on the way."""

    def __init__(self, loaded: LoadedModel, policy: _Policy) -> None:
        self.loaded = loaded
        self.policy = policy
        self.old = loaded.batch
        self.new = self.old + 1
        self.ranges = 0
        self.forward = copy.deepcopy(loaded.forward)
        self.graph = self.forward.graph
        self.batch_node = self._insert_batch_size()

    def _insert_batch_size(self) -> fx.Node:
        placeholders = [node for node in self.graph.nodes if node.op == "placeholder"]
        with self.graph.inserting_after(placeholders[-1]):
            return self.graph.call_function(torch.ops.aten.sym_size.int, (placeholders[0], 0))

    def rewrite(self) -> fx.GraphModule:
        mode = FakeTensorMode()
        inputs = self.loaded.inputs
        olds: dict[fx.Node, Any] = {}
        news: dict[fx.Node, Any] = {}
        queue = zip(
            fake_inputs(mode, inputs),
            fake_inputs(mode, at_batch(inputs, self.old, self.new)),
            strict=True,
        )
        with mode, torch.no_grad():
            for node in list(self.graph.nodes):
                if node.op == "placeholder":
                    olds[node], news[node] = next(queue)
                elif node.op == "get_attr":
                    value = fake_like(mode, attribute(self.forward, node.target))
                    olds[node] = news[node] = value
                elif node.op == "call_function" and node is not self.batch_node:
                    self._propagate(node, olds, news)
        self.graph.eliminate_dead_code(is_impure_node=_keeps)
        self.forward.recompile()
        return self.forward

    def _propagate(self, node: fx.Node, olds: dict[fx.Node, Any], news: dict[fx.Node, Any]) -> None:
        target: Any = node.target
        old_args = fx.map_arg(node.args, lambda used: olds[used])
        old_kwargs = fx.map_arg(node.kwargs, lambda used: olds[used])
        new_args: Any = fx.map_arg(node.args, lambda used: news[used])
        new_kwargs = fx.map_arg(node.kwargs, lambda used: news[used])
        olds[node] = target(*old_args, **old_kwargs)
        replaced = self._replaced(node, olds[node], old_args, new_args)
        if replaced is not None:
            position, sizes, dimension = replaced
            new_args = list(new_args)
            new_args[position] = self._concrete(sizes, dimension)
            with self.graph.inserting_before(node):
                scaled = self._symbolic(sizes, dimension)
            node.update_arg(position, scaled)
        check_recurrent(node, new_args)
        news[node] = target(*new_args, **new_kwargs)
        checked_bytes(news[node], node)

    def _replaced(
        self, node: fx.Node, old: Any, old_args: Sequence[Any], new_args: Sequence[Any]
    ) -> tuple[int, list[int] | int, int] | None:
        """Return (argument, its sizes, the dimension to scale) if the batch is baked in."""
        name = getattr(node.target, "_opname", "")
        if name in _VIEWS:
            if new_args[0].numel() == old_args[0].numel():
                return None
            sizes = list(old.shape)  # -1 resolved at the old batch
            return 1, sizes, self._dimension(sizes)
        if name == "expand":
            sizes = list(old_args[1])
            lead_at = new_args[0].dim() == len(sizes)
            lead = new_args[0].shape[0] if lead_at else 1
            if sizes and sizes[0] == self.old and lead in (1, self.new):
                return 1, sizes, 0
            return None
        if name == "repeat":
            sizes = list(old_args[1])
            grows = new_args[0].numel() != old_args[0].numel()
            return (1, sizes, 0) if sizes and sizes[0] == self.old > 1 and not grows else None
        if name in _FACTORIES or name in _NEW_FACTORIES:
            position = 1 if name in _NEW_FACTORIES else 0
            sizes = list(old_args[position])
            fitting = [at for at, size in enumerate(sizes) if size == self.old]
            if not fitting or (self.policy.of_new is None and fitting[0] != 0):
                return None
            return position, sizes, fitting[self.policy.of_new or 0]
        if name == "arange":
            position = 0 if len(old_args) == 1 else 1
            if old_args[position] != self.old or (position == 1 and old_args[0] != 0):
                return None
            self.ranges += 1
            scaled = self.policy.scaled_ranges >> (self.ranges - 1) & 1
            return (position, self.old, 0) if scaled else None
        return None

    def _dimension(self, sizes: list[int]) -> int:
        fitting = [at for at, size in enumerate(sizes) if size and size % self.old == 0]
        if not fitting:
            raise ValueError(f"no dimension of {sizes} is a multiple of the batch {self.old}")
        return fitting[-1] if self.policy.last_dimension else fitting[0]

    def _concrete(self, sizes: list[int] | int, dimension: int) -> list[int] | int:
        if isinstance(sizes, int):
            return self.new
        return [
            size // self.old * self.new if at == dimension else size
            for at, size in enumerate(sizes)
        ]

    def _symbolic(self, sizes: list[int] | int, dimension: int) -> Any:
        if isinstance(sizes, int):
            return self.batch_node
        factor = sizes[dimension] // self.old
        scaled: Any = self.batch_node
        if factor != 1:
            scaled = self.graph.call_function(operator.mul, (self.batch_node, factor))
        return [scaled if at == dimension else size for at, size in enumerate(sizes)]


def _keeps(node: fx.Node) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
