"""Arguments of a node by their names in the operator's schema."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

__all__ = ["arguments_by_name", "is_call"]


def arguments_by_name(node: fx.Node) -> dict[str, Any]:
    """Return every argument of an ATen call, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    named: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if index < len(node.args) and not argument.kwarg_only:
            named[argument.name] = node.args[index]
        elif argument.name in node.kwargs:
            named[argument.name] = node.kwargs[argument.name]
        else:
            named[argument.name] = argument.default_value
    return named


def is_call(node: Any, *names: str) -> bool:
    """Tell whether a node calls one of the ATen overloads ``packet.overload``."""
    return (
        isinstance(node, fx.Node)
        and node.op == "call_function"
        and str(node.target).removeprefix("aten.") in names
    )
