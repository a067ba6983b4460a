"""``.pt2``: an exported program, read as plain data.

``torch.export.load`` runs code that a file carries in five ways; it is never called.  Read are
``models/model.json``, the two tables of weights, and the raw bytes of weights when they are
needed.  Sample inputs, pickles, symbolic expressions and compiled libraries stay unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_BYTES, MAX_JSON_BYTES
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.archive import Archive
from memplan.tracing.loaders.fake_run import MAX_DIMENSION
from memplan.tracing.loaders.names import check_name, input_name
from memplan.tracing.loaders.pt2_program import decode_graph
from memplan.tracing.loaders.pt2_schema import SCHEMA_MAJOR, PayloadConfig, Program, TensorMeta
from memplan.tracing.loaders.pt2_weights import (
    TORCH_DTYPES,
    StoredTensor,
    first_names,
    read_tensors,
)
from memplan.tracing.loaders.rebatch import batch_free
from memplan.tracing.loaders.unlift import Attribute, Baked, Binding, UserInput, unlift
from memplan.tracing.loaders.values import MAX_VALUE_BYTES, statistics_only

__all__ = ["load_pt2", "read_pt2_weights"]

_WEIGHTS = "data/weights/"
_CONSTANTS = "data/constants/"

#: Buffers and constants that are read while a model is traced, all together.
_MAX_VALUES_BYTES = 2**30

_Document = TypeVar("_Document", bound=BaseModel)


def load_pt2(path: str) -> LoadedModel:
    """Read an exported program.

    Raises:
        ModelError: the file is damaged or hostile, of another schema version, or uses what
            memplan does not read (custom operations, control flow, pickled weights).
    """
    with Archive(path) as archive:
        root = _root(archive)
        program = _program(archive, root)
        stored = _stored(archive, root)
        return batch_free(_assemble(archive, program, stored, path))


def read_pt2_weights(path: str) -> dict[str, torch.Tensor]:
    """Read parameters, buffers and constants of an exported program, from raw bytes only.

    Raises:
        ModelError: the file is damaged or hostile, or a weight is pickled.
    """
    with Archive(path) as archive:
        return read_tensors(archive, _stored(archive, _root(archive)).values(), MAX_BYTES)


def _root(archive: Archive) -> str:
    """Return the archive's one top folder, which holds ``models/model.json``."""
    models = sorted(name for name in archive.names if name.endswith("models/model.json"))
    if len(models) != 1:
        raise ModelError(f"{archive.path}: expected one models/model.json, found {len(models)}")
    root = models[0].removesuffix("models/model.json")
    byte_order = f"{root}byteorder"
    if byte_order in archive.names and archive.read(byte_order, 16).strip() != b"little":
        raise ModelError(f"{archive.path}: the weights are not little-endian")
    return root


def _program(archive: Archive, root: str) -> Program:
    program = _parse(archive, root + "models/model.json", Program)
    major = program.schema_version.major
    if major != SCHEMA_MAJOR:
        raise ModelError(
            f"{archive.path}: export schema {major}.{program.schema_version.minor}, this version "
            f"reads {SCHEMA_MAJOR}.x; export the model again with torch 2.13"
        )
    return program


def _stored(archive: Archive, root: str) -> dict[str, StoredTensor]:
    stored: dict[str, StoredTensor] = {}
    for folder, table in (
        (root + _WEIGHTS, "model_weights_config.json"),
        (root + _CONSTANTS, "model_constants_config.json"),
    ):
        if folder + table not in archive.names:
            continue
        config = _parse(archive, folder + table, PayloadConfig).config
        for name, payload in config.items():
            stored[name] = StoredTensor.check(archive, folder, name, payload)
    return stored


def _parse(archive: Archive, name: str, kind: type[_Document]) -> _Document:
    text = archive.read(name, MAX_JSON_BYTES)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:120]
        raise ModelError(f"{archive.path}: {name}: {where}: {first['msg'][:160]}") from None


def _assemble(
    archive: Archive, program: Program, stored: Mapping[str, StoredTensor], path: str
) -> LoadedModel:
    graph, signature = program.graph_module.graph, program.graph_module.signature
    nested: dict[str, Any] = {}
    lifted, placeholders = decode_graph(graph, nested, path)
    by_position = list(placeholders.items())
    if len(signature.input_specs) != len(by_position):
        raise ModelError(f"{path}: the signature does not fit the graph's inputs")
    mutations = _mutations(signature.output_specs, graph.outputs, path)
    tied = first_names(stored)
    bindings: dict[str, Binding] = {}
    attributes: dict[str, torch.Tensor] = {}
    inputs: list[InputSpec] = []
    trainable: set[str] = set()
    with_values: list[StoredTensor] = []
    free = False
    for (value_name, node), union in zip(by_position, signature.input_specs, strict=True):
        ((kind, spec),) = union.items()
        name = _stored_name(kind, spec, path)
        if name is None:
            if value_name in graph.tensor_values and kind == "user_input":
                meta = graph.tensor_values[value_name]
                free = free or (not inputs and bool(meta.sizes) and meta.sizes[0].is_free)
                inputs.append(_input(value_name, len(inputs), meta, path))
                if inputs[-1].name in {earlier.name for earlier in inputs[:-1]}:
                    raise ModelError(f"{path}: two inputs are called {inputs[-1].name}")
                bindings[node.name] = UserInput(inputs[-1].name)
            else:
                bindings[node.name] = Baked(_constant(kind, spec))
            continue
        if name not in stored:
            raise ModelError(f"{path}: the archive has no weights for {name[:80]!r}")
        first = tied.get(name, name)
        tensor, is_parameter = stored[name], kind == "parameter"
        bindings[node.name] = Attribute(check_name(name, path))
        declared = graph.tensor_values.get(value_name)
        wants_gradient = declared is not None and declared.requires_grad
        if is_parameter and wants_gradient and node.users:
            trainable.add(first)
        form = tensor.geometry
        empty = torch.empty_strided(form.shape, form.strides, dtype=form.dtype, device="meta")
        if is_parameter:
            wants_gradient = wants_gradient and form.dtype.is_floating_point
            attributes[first] = torch.nn.Parameter(empty, requires_grad=wants_gradient)
        else:
            attributes.setdefault(first, empty)
            if not statistics_only(node.users) and archive.size(tensor.entry) <= MAX_VALUE_BYTES:
                with_values.append(stored[first])
    attributes |= read_tensors(archive, with_values, _MAX_VALUES_BYTES)
    if not inputs or not inputs[0].shape:
        raise ModelError(f"{path}: the first input must be a tensor with a batch dimension")
    forward = unlift(lifted, bindings, attributes, tied, path, nested, mutations)
    return LoadedModel(
        name=_model_name(path),
        forward=forward,
        inputs=tuple(inputs),
        read_weights=lambda: read_pt2_weights(path),
        trainable=frozenset(trainable),
        tied={second: head for second, head in tied.items() if head in attributes},
        batch_free=free,
        source=path,
    )


def _stored_name(kind: str, spec: Any, path: str) -> str | None:
    """Return the name of a parameter, buffer or constant; None for what a user passes."""
    fields = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    if kind in ("user_input", "constant_input"):
        return None
    if kind not in fields:
        raise ModelError(f"{path}: the model holds a {kind[:40]}, which is more than tensors")
    name = spec.get(fields[kind]) if isinstance(spec, dict) else None
    if not isinstance(name, str):
        raise ModelError(f"{path}: an input of the graph has no name")
    return name


def _mutations(
    specs: list[dict[str, Any]], outputs: list[dict[str, Any]], path: str
) -> dict[int, str]:
    """Return which outputs are new values of buffers, by position.

    Such outputs exist after ``run_decompositions()``, which leaves nothing in place.
    """
    if len(specs) != len(outputs):
        raise ModelError(f"{path}: the signature does not fit the graph's outputs")
    mutations = {}
    for position, union in enumerate(specs):
        ((kind, spec),) = union.items()
        if kind == "user_input_mutation":
            raise ModelError(
                f"{path}: the model changes an input in place; a plan cannot repeat that: write "
                "this part out of place and export again"
            )
        if kind == "buffer_mutation":
            name = spec.get("buffer_name") if isinstance(spec, dict) else None
            if not isinstance(name, str) or not name:
                raise ModelError(f"{path}: an output is the new value of a buffer without a name")
            mutations[position] = name
        elif kind != "user_output":
            raise ModelError(
                f"{path}: the graph has an output of kind {kind[:40]!r}, which a forward pass has "
                "not; export the model itself, without loss and gradients"
            )
    return mutations


def _input(name: str, position: int, meta: TensorMeta, path: str) -> InputSpec:
    dtype = TORCH_DTYPES.get(meta.dtype)
    if dtype is None:
        raise ModelError(f"{path}: input {name[:60]!r} has dtype {meta.dtype}, not supported")
    shape = []
    elements = 1
    for size in meta.sizes:
        value = size.value
        if value is None or value < 1:
            raise ModelError(f"{path}: input {name[:60]!r} has no concrete size; export it again")
        shape.append(value)
        elements *= value
    if elements * dtype.itemsize > MAX_BYTES or max(shape, default=0) > MAX_DIMENSION:
        raise ModelError(f"{path}: input {name[:60]!r} has the absurd shape {shape}")
    return InputSpec(input_name(name, position), tuple(shape), dtype)


def _constant(kind: str, spec: Any) -> Any:
    """Return the value of an argument that is no tensor; what is not plain data becomes None."""
    field = "value" if kind == "constant_input" else "arg"
    holder = spec.get(field) if isinstance(spec, dict) else None
    if not isinstance(holder, dict) or len(holder) != 1 or "as_none" in holder:
        return None
    (value,) = holder.values()
    return value if isinstance(value, (bool, int, float, str)) else None


def _model_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0] or "model"
