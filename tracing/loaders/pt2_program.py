"""From the JSON nodes of a ``.pt2`` to an fx graph whose parameters are placeholders."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from pydantic import ValidationError
from torch import fx

from memplan.ir.errors import ModelError
from memplan.tracing.loaders.pt2_schema import Graph, Node
from memplan.tracing.loaders.pt2_weights import TORCH_DTYPES
from memplan.tracing.loaders.targets import BLOCKS, resolve_target

__all__ = ["MAX_DEPTH", "decode_graph"]

MAX_DEPTH = 32

_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
_SIZE_LIMIT = 2**62


def decode_graph(
    graph: Graph, nested: dict[str, fx.Graph], where: str, depth: int = 0
) -> tuple[fx.Graph, dict[str, fx.Node]]:
    """Build the fx graph; return it with its placeholders by value name.

    Args:
        graph: validated JSON.
        nested: receives the graphs of nested blocks, by the target of the ``get_attr`` that
            stands for them.
        where: start of error messages.
        depth: of nesting.

    Raises:
        ModelError: an unknown operation or argument kind, a value used before it exists.
    """
    if depth > MAX_DEPTH:
        raise ModelError(f"{where}: blocks nested more than {MAX_DEPTH} deep")
    return _Decoder(graph, nested, where, depth).decode()


class _Decoder:
    def __init__(self, source: Graph, nested: dict[str, fx.Graph], where: str, depth: int) -> None:
        self.source = source
        self.nested = nested
        self.where = where
        self.depth = depth
        self.graph = fx.Graph()
        self.values: dict[str, Any] = {}

    def decode(self) -> tuple[fx.Graph, dict[str, fx.Node]]:
        placeholders: dict[str, fx.Node] = {}
        for position, argument in enumerate(self.source.inputs):
            ((kind, value),) = argument.items()
            name = _value_name(kind, value)
            if name is None:
                name = f"constant {position}"  # None, a number: the signature says its value
            elif name in self.values:
                raise self._fault(f"two inputs are called {name[:60]!r}")
            node = self.graph.placeholder(f"argument_{position}")
            self._name(name, node, is_tensor=kind == "as_tensor")
            placeholders[name] = node
        for json_node in self.source.nodes:
            self._call(json_node)
        self.graph.output(tuple(self._argument(argument) for argument in self.source.outputs))
        return self.graph, placeholders

    def _call(self, node: Node) -> None:
        target = resolve_target(node.target, self.where)
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for argument in node.inputs:
            value = self._argument(argument.arg)
            if argument.kind == 2:
                keywords[argument.name] = value
            else:
                positional.append(value)
        if any(not name.isidentifier() for name in keywords):
            raise self._fault(f"{node.target} has a keyword that is no name")
        called = self.graph.call_function(target, tuple(positional), keywords)
        kinds = [next(iter(output)) for output in node.outputs]
        if target in BLOCKS.values() or len(kinds) > 1:
            for position, output in enumerate(node.outputs):
                self._result(output, functools.partial(self._slot, called, position))
        elif kinds:
            self._result(node.outputs[0], lambda: called)

    def _result(self, output: dict[str, Any], make: Callable[[], fx.Node]) -> None:
        ((kind, value),) = output.items()
        if kind in ("as_none", "as_int", "as_bool", "as_float"):
            return
        if kind in ("as_tensors", "as_optional_tensors"):
            whole = make()
            for position, part in enumerate(self._list(value)):
                if kind == "as_optional_tensors":
                    ((part_kind, part),) = self._union(part).items()
                    if part_kind == "as_none":
                        continue
                self._name(self._name_in(part), self._slot(whole, position), is_tensor=True)
            return
        name = _value_name(kind, value)
        if name is None:
            raise self._fault(f"an operation returns {kind[:60]}, which is not supported")
        self._name(name, make(), is_tensor=kind == "as_tensor")

    def _slot(self, node: fx.Node, position: int) -> fx.Node:
        return self.graph.call_function(operator.getitem, (node, position))

    def _name(self, name: str, node: fx.Node, *, is_tensor: bool) -> None:
        self.values[name] = node
        node.meta["is_tensor"] = is_tensor

    def _argument(self, argument: dict[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        decode = _DECODERS.get(kind)
        if decode is None:
            raise self._fault(f"an argument of kind {kind[:60]!r} is not supported")
        return decode(self, value)

    # One method per kind of argument; each checks what it gets.

    def _none(self, value: Any) -> None:
        return None

    def _value(self, value: Any) -> Any:
        name = self._name_in(value)
        if name not in self.values:
            raise self._fault(f"{name[:60]!r} is used before it is computed")
        return self.values[name]

    def _optional_value(self, value: Any) -> Any:
        ((kind, inner),) = self._union(value).items()
        return None if kind == "as_none" else self._value(inner)

    def _integer(self, value: Any) -> int:
        if type(value) is not int or abs(value) > _SIZE_LIMIT * 2:
            raise self._fault("expected a 64-bit integer")
        return value

    def _float(self, value: Any) -> float:
        if isinstance(value, str) and value in _FLOATS:
            return _FLOATS[value]
        if type(value) not in (int, float):
            raise self._fault("expected a number")
        return float(value)

    def _bool(self, value: Any) -> bool:
        if type(value) is not bool:
            raise self._fault("expected true or false")
        return value

    def _string(self, value: Any) -> str:
        if type(value) is not str or len(value) > 1000 or not value.isprintable():
            raise self._fault("expected a short text")
        return value

    def _symbolic(self, value: Any) -> Any:
        ((kind, inner),) = self._union(value).items()
        match kind:
            case "as_name":
                return self._value({"name": inner})
            case "as_int":
                return self._integer(inner)
            case "as_float":
                return self._float(inner)
            case "as_bool":
                return self._bool(inner)
        raise self._fault(f"a size of kind {kind[:60]!r} is not supported")

    def _dtype(self, value: Any) -> torch.dtype:
        dtype = TORCH_DTYPES.get(self._integer(value))
        if dtype is None:
            raise self._fault(f"dtype {value} is not supported")
        return dtype

    def _memory_format(self, value: Any) -> torch.memory_format:
        found = _MEMORY_FORMATS.get(self._integer(value))
        if found is None:
            raise self._fault(f"memory format {value} is not supported")
        return found

    def _layout(self, value: Any) -> torch.layout:
        if self._integer(value) != 7:
            raise self._fault(f"layout {value} is not supported, only strided tensors")
        return torch.strided

    def _device(self, value: Any) -> torch.device:
        return torch.device("cpu")  # tracing happens on the CPU, whatever the file was made on

    def _nested(self, value: Any) -> fx.Node:
        try:
            inner = Graph.model_validate(value["graph"])
        except (ValidationError, RecursionError, KeyError, TypeError):
            raise self._fault("a nested block is malformed") from None
        graph, _ = decode_graph(inner, self.nested, self.where, self.depth + 1)
        key = f"block_{len(self.nested)}"
        self.nested[key] = graph
        return self.graph.create_node("get_attr", key)

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self._fault("expected a list")
        return value

    def _union(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) != 1:
            raise self._fault("expected an object with one key")
        return value

    def _name_in(self, value: Any) -> str:
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise self._fault("a value has no name")
        return name

    def _fault(self, what: str) -> ModelError:
        return ModelError(f"{self.where}: {what}")


def _value_name(kind: str, value: Any) -> str | None:
    if isinstance(value, dict):
        if kind == "as_tensor":
            name = value.get("name")
        elif kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
            name = value.get("as_name")
        else:
            return None
        return name if isinstance(name, str) else None
    return None


def _several(decode: Callable[[_Decoder, Any], Any]) -> Callable[[_Decoder, Any], list[Any]]:
    def decode_list(decoder: _Decoder, value: Any) -> list[Any]:
        return [decode(decoder, part) for part in decoder._list(value)]

    return decode_list


_DECODERS: dict[str, Callable[[_Decoder, Any], Any]] = {
    "as_none": _Decoder._none,
    "as_tensor": _Decoder._value,
    "as_tensors": _several(_Decoder._value),
    "as_nested_tensors": _several(_several(_Decoder._value)),
    "as_optional_tensor": _Decoder._optional_value,
    "as_optional_tensors": _several(_Decoder._optional_value),
    "as_int": _Decoder._integer,
    "as_ints": _several(_Decoder._integer),
    "as_int_lists": _several(_several(_Decoder._integer)),
    "as_float": _Decoder._float,
    "as_floats": _several(_Decoder._float),
    "as_float_lists": _several(_several(_Decoder._float)),
    "as_bool": _Decoder._bool,
    "as_bools": _several(_Decoder._bool),
    "as_string": _Decoder._string,
    "as_strings": _several(_Decoder._string),
    "as_sym_int": _Decoder._symbolic,
    "as_sym_ints": _several(_Decoder._symbolic),
    "as_sym_float": _Decoder._symbolic,
    "as_sym_floats": _several(_Decoder._symbolic),
    "as_sym_bool": _Decoder._symbolic,
    "as_sym_bools": _several(_Decoder._symbolic),
    "as_scalar_type": _Decoder._dtype,
    "as_memory_format": _Decoder._memory_format,
    "as_layout": _Decoder._layout,
    "as_device": _Decoder._device,
    "as_graph": _Decoder._nested,
}
