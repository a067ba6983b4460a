"""From a lifted graph (parameters are placeholders) to the forward graph of a ``LoadedModel``.

``torch.export`` and the ``.pt2`` reader both end here, so what a graph may hold is said once:
ATen overloads and a few functions on sizes.  Blocks under ``no_grad`` or a disabled ``autocast``
are inlined, assertions dropped, devices rewritten to the CPU.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_OPERATIONS
from memplan.tracing.loaders.names import check_name
from memplan.tracing.loaders.recompose import recompose

__all__ = ["ASSERTIONS", "Attribute", "Baked", "Binding", "SIZE_FUNCTIONS", "UserInput", "unlift"]

#: Functions on sizes (and on lists of tensors) that may stand in a graph besides ATen.
SIZE_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in (
        "add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "getitem",
        "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_",
    )
} | {"sym_not": torch.sym_not, "sym_max": torch.sym_max, "sym_min": torch.sym_min,
     "sym_float": torch.sym_float, "sym_int": torch.sym_int, "sym_ite": torch.sym_ite}  # fmt: skip

#: Assertions: they compute nothing.
ASSERTIONS = frozenset({
    "_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range",
    "sym_constrain_range_for_size",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribute:
    """A placeholder that is a parameter, buffer or constant of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class UserInput:
    """A placeholder that stays one."""

    name: str


@dataclass(frozen=True, slots=True)
class Baked:
    """A placeholder whose value is no tensor: the value takes its place."""

    value: Any


Binding = Attribute | UserInput | Baked


def unlift(
    graph: fx.Graph,
    bindings: Mapping[str, Binding],
    attributes: Mapping[str, torch.Tensor],
    tied: Mapping[str, str],
    where: str,
    nested: Mapping[str, fx.Graph] | None = None,
    mutations: Mapping[int, str] | None = None,
) -> fx.GraphModule:
    """Return the forward graph; it returns what the user gets, and no new values of buffers.

    Args:
        graph: lifted.
        bindings: what each placeholder is, by node name.
        attributes: what ``get_attr`` nodes shall find, by name, each name once.
        tied: second name -> first name; only first names are left in the graph.
        where: start of error messages.
        nested: graphs of nested blocks, by the target of the ``get_attr`` that stands for them;
            by default modules of ``graph.owning_module``.
        mutations: which outputs are new values of buffers, by position.

    Raises:
        ModelError: the graph holds an operation that is neither ATen nor on sizes, or a norm or
            a dropout that is decomposed too far (see ``recompose``).
    """
    built = fx.Graph()
    copier = _Copier(built, where, nested)
    environment: dict[fx.Node, Any] = {}
    getters: dict[str, fx.Node] = {}
    for node in graph.nodes:
        if node.op != "placeholder":
            continue
        match bindings[node.name]:
            case UserInput(name):
                environment[node] = built.placeholder(name)
                environment[node].meta["is_tensor"] = True
            case Baked(value):
                environment[node] = value
            case Attribute(name):
                first = tied.get(name, name)
                if first not in getters and node.users:
                    getters[first] = built.get_attr(check_name(first, where))
                environment[node] = getters.get(first)
    results = copier.copy_body(graph, environment)
    mutations = mutations or {}
    outputs = tuple(
        result
        for position, result in enumerate(results)
        if isinstance(result, fx.Node) and position not in mutations
    )
    if not outputs:
        raise ModelError(f"{where}: the model returns no tensor")
    built.output(outputs)
    updates = {
        tied.get(name, name): results[position]
        for position, name in mutations.items()
        if isinstance(results[position], fx.Node)
    }
    recompose(built, updates, where)
    built.eliminate_dead_code(_has_effect)
    return fx.GraphModule(dict(attributes), built, class_name="Forward")


class _Copier:
    """Copies graph bodies, nested ones in place, into one graph."""

    def __init__(self, built: fx.Graph, where: str, nested: Mapping[str, fx.Graph] | None) -> None:
        self.built = built
        self.nested = nested
        self.where = where
        self.count = 0

    def copy_body(self, graph: fx.Graph, environment: dict[fx.Node, Any]) -> tuple[Any, ...]:
        """Copy all nodes but placeholders; return what the graph's output says."""
        for node in graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                returned = fx.map_arg(node.args[0], lambda used: environment[used])
                return tuple(returned) if isinstance(returned, (tuple, list)) else (returned,)
            self.count += 1
            if self.count > MAX_OPERATIONS:
                raise ModelError(f"{self.where}: more than {MAX_OPERATIONS} operations")
            if node.op == "get_attr":
                environment[node] = self._nested_graph(graph, node)
            elif node.op == "call_function":
                environment[node] = self._copy_call(node, environment)
            else:
                raise ModelError(f"{self.where}: cannot read a {node.op} of {node.target}")
        raise ModelError(f"{self.where}: the graph has no output")

    def _nested_graph(self, graph: fx.Graph, node: fx.Node) -> fx.Graph:
        if self.nested is not None:
            return self.nested[str(node.target)]
        module = getattr(graph.owning_module, str(node.target), None)
        if not isinstance(module, fx.GraphModule):
            raise ModelError(f"{self.where}: {node.target} is not a nested graph")
        return module.graph

    def _copy_call(self, node: fx.Node, environment: dict[fx.Node, Any]) -> Any:
        arguments = fx.map_arg(node.args, lambda used: environment[used])
        keywords = fx.map_arg(node.kwargs, lambda used: environment[used])
        target: Any = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            try:
                return self._inline(target.__name__, arguments)
            except ModelError:
                raise
            except (TypeError, ValueError):
                raise ModelError(f"{self.where}: {target.__name__} lacks arguments") from None
        if target is operator.getitem and isinstance(arguments[0], tuple):
            if not isinstance(arguments[1], int) or arguments[1] >= len(arguments[0]):
                raise ModelError(f"{self.where}: a nested block has too few results")
            return arguments[0][arguments[1]]  # a slot of an inlined block
        if isinstance(target, torch._ops.OpOverload):
            if target.namespace not in ("aten", "prims"):
                raise ModelError(
                    f"{self.where}: {target} is a custom operation; memplan knows ATen only, so "
                    "write this part of the model with torch functions"
                )
            if target._opname in ASSERTIONS:
                return None
        elif target not in SIZE_FUNCTIONS.values():
            raise ModelError(f"{self.where}: cannot read a call of {target}")
        copied = self.built.call_function(target, _on_cpu(arguments), _on_cpu(keywords))
        is_tensor = isinstance(node.meta.get("val"), torch.Tensor) or node.meta.get("is_tensor")
        copied.meta["is_tensor"] = bool(is_tensor)
        copied.meta["origin"] = node.name
        return copied

    def _inline(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "wrap_with_set_grad_enabled":
            enabled, body, *operands = arguments
            results = self._call_body(body, operands)
            return results if enabled else tuple(self._detached(result) for result in results)
        if name == "wrap_with_autocast":
            device, dtype, enabled, _, body, *operands = arguments
            if enabled:
                raise ModelError(
                    f"{self.where}: the model enables autocast ({device}, {dtype}); export it "
                    "without autocast, or cast explicitly"
                )
            return self._call_body(body, operands)
        raise ModelError(
            f"{self.where}: the model uses {name}, control flow that depends on data; write that "
            "part without it and export again"
        )

    def _call_body(self, body: Any, operands: list[Any]) -> tuple[Any, ...]:
        if not isinstance(body, fx.Graph):
            raise ModelError(f"{self.where}: a nested block has no graph")
        inputs = [node for node in body.nodes if node.op == "placeholder"]
        if len(inputs) != len(operands):
            raise ModelError(f"{self.where}: a nested block takes {len(inputs)} arguments")
        return self.copy_body(body, dict(zip(inputs, operands, strict=True)))

    def _detached(self, result: Any) -> Any:
        if isinstance(result, fx.Node) and result.meta.get("is_tensor"):
            detached = self.built.call_function(torch.ops.aten.detach.default, (result,))
            detached.meta["is_tensor"] = True
            return detached
        return result


def _on_cpu(arguments: Any) -> Any:
    def move(leaf: Any) -> Any:
        return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

    return fx.node.map_aggregate(arguments, move)


def _has_effect(node: fx.Node) -> bool:
    if node.op in ("placeholder", "output"):
        return True
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
