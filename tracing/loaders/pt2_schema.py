"""The JSON inside a ``.pt2``, as far as it is read (torch's export schema, major version 8).

Validation is strict: a number is no string, a list has a limit.  Fields that this reader has no
use for are skipped, among them everything symbolic: an ``expr_str`` is never parsed.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from memplan.ir.limits import MAX_BYTES, MAX_NAME, MAX_OPERATIONS, MAX_RANK, MAX_TENSORS

__all__ = [
    "SCHEMA_MAJOR",
    "Graph",
    "NamedArgument",
    "Node",
    "Payload",
    "PayloadConfig",
    "Program",
    "Size",
    "TensorMeta",
]

SCHEMA_MAJOR = 8

_Text = Annotated[str, Field(max_length=MAX_NAME)]
#: An argument is a union, written as an object with one key.
_Argument = Annotated[dict[_Text, Any], Field(min_length=1, max_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Hint(_Part):
    as_int: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None


class _Expression(_Part):
    hint: _Hint | None = None


class Size(_Part):
    """A size, fixed (``as_int``) or symbolic (``as_expr``, of which only the hint is read)."""

    as_int: Annotated[int, Field(ge=0, le=MAX_BYTES)] | None = None
    as_expr: _Expression | None = None

    @property
    def is_free(self) -> bool:
        """True for a symbolic size."""
        return self.as_int is None

    @property
    def value(self) -> int | None:
        """The size, or the hint of a symbolic one."""
        if self.as_int is not None:
            return self.as_int
        return self.as_expr.hint.as_int if self.as_expr and self.as_expr.hint else None


_Sizes = Annotated[list[Size], Field(max_length=MAX_RANK)]


class TensorMeta(_Part):
    """Geometry of a tensor; enumerations are torch's own numbers."""

    dtype: int
    sizes: _Sizes
    requires_grad: bool
    strides: _Sizes
    storage_offset: Size
    layout: int


class NamedArgument(_Part):
    """One argument of a node; kind 1 is positional, 2 a keyword."""

    name: _Text
    arg: _Argument
    kind: int | None = None


class Node(_Part):
    """One call."""

    target: _Text
    inputs: Annotated[list[NamedArgument], Field(max_length=MAX_TENSORS)]
    outputs: Annotated[list[_Argument], Field(max_length=MAX_TENSORS)]


class Graph(_Part):
    """Calls in order; values are named."""

    inputs: Annotated[list[_Argument], Field(max_length=MAX_TENSORS)]
    outputs: Annotated[list[_Argument], Field(max_length=MAX_TENSORS)]
    nodes: Annotated[list[Node], Field(max_length=MAX_OPERATIONS)]
    tensor_values: Annotated[dict[str, TensorMeta], Field(max_length=MAX_TENSORS)]


class _Signature(_Part):
    input_specs: Annotated[
        list[Annotated[dict[str, Any], Field(min_length=1, max_length=1)]],
        Field(max_length=MAX_TENSORS),
    ]
    output_specs: Annotated[
        list[Annotated[dict[str, Any], Field(min_length=1, max_length=1)]],
        Field(max_length=MAX_TENSORS),
    ]


class _GraphModule(_Part):
    graph: Graph
    signature: _Signature


class _Version(_Part):
    major: int
    minor: int


class Program(_Part):
    """``models/model.json``."""

    graph_module: _GraphModule
    schema_version: _Version


class Payload(_Part):
    """Where the bytes of a parameter, buffer or constant are."""

    path_name: _Text
    use_pickle: bool
    tensor_meta: TensorMeta | None = None


class PayloadConfig(_Part):
    """``model_weights_config.json`` and ``model_constants_config.json``."""

    config: Annotated[dict[_Text, Payload], Field(max_length=MAX_TENSORS)]
