"""``.pt`` and ``.pth``: a pickled module, or a pickled pair (module, example inputs).

Read with ``weights_only=True`` on the meta device, so that no weight is in memory, and with
inert stand-ins for the classes of ``torch.nn`` (``inert``, ``rebuild``).  Other classes need the
code that defines them: then the file's owner says ``--trust``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_JSON_BYTES
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.archive import Archive
from memplan.tracing.loaders.export import load_module
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.loaders.inert import ALLOWED, InertModule
from memplan.tracing.loaders.inputs import sample_inputs
from memplan.tracing.loaders.rebuild import check_tensor, rebuild_module

__all__ = ["load_pickled"]

_GLOBAL = re.compile(r"GLOBAL ([\w.<>]{1,120})")


def load_pickled(
    path: str, inputs: Sequence[InputSpec] = (), *, trust: bool = False
) -> LoadedModel:
    """Read a pickled module and export it.

    Args:
        path: of the file.
        inputs: of the model; by default those that the file holds.
        trust: unpickle in the ordinary way, which runs code that the file carries.

    Raises:
        ModelError: the file is damaged, carries code, holds weights only, or lacks inputs.
    """
    if trust:
        return _load_trusted(path, inputs)
    _check_archive(path)
    module, example_inputs = _read(path, "meta")
    if inputs:
        example_inputs = _on_meta(inputs)
    if example_inputs is None:
        raise ModelError(_no_inputs(path))
    return load_module(
        module,
        example_inputs,
        _model_name(path),
        source=path,
        read_weights=lambda: _read_weights(path),
    )


def _load_trusted(path: str, inputs: Sequence[InputSpec]) -> LoadedModel:
    try:
        made = torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{path}: needs the Python module {error.name!r}, which is not found; put its folder "
            "into PYTHONPATH"
        ) from error
    except Exception as error:  # the file's own code may raise anything
        raise ModelError(f"{path}: cannot be unpickled ({one_line(error)})") from error
    module, example_inputs = _split(made, path)
    if not isinstance(module, nn.Module):
        raise ModelError(_no_module(path, made))
    if inputs:
        values = sample_inputs(inputs)
        named = any(spec.name != f"input_{at}" for at, spec in enumerate(inputs))
        names = [spec.name for spec in inputs]
        example_inputs = dict(zip(names, values, strict=True)) if named else values
    if example_inputs is None:
        raise ModelError(_no_inputs(path))
    return load_module(module, example_inputs, _model_name(path), source=path)


def _check_archive(path: str) -> None:
    """Refuse what torch's reader would inflate: it never compresses itself."""
    with Archive(path) as archive:
        for name in archive.names:
            if name.endswith("data.pkl"):
                archive.read(name, MAX_JSON_BYTES, stored_only=True)
            elif archive.is_compressed(name):
                raise ModelError(f"{path}: {name} is compressed; torch does not do that")


def _read(path: str, device: str) -> tuple[nn.Module, Any]:
    try:
        with torch.serialization.safe_globals(ALLOWED):
            made = torch.load(path, map_location=device, weights_only=True, mmap=device == "cpu")
    except Exception as error:  # hostile pickles raise every kind of error
        found = _GLOBAL.search(str(error))
        if found is not None:
            raise ModelError(
                f"{path}: the pickle needs {found[1]}, which is no class of torch.nn, so its code "
                "would have to run; export the model to .pt2, name a factory "
                "package.module:function, or use --trust if the file is yours"
            ) from None
        raise ModelError(
            f"{path}: cannot be read as a pickled module ({one_line(error, 160)})"
        ) from None
    record, example_inputs = _split(made, path)
    if not isinstance(record, InertModule):
        raise ModelError(_no_module(path, made))
    return rebuild_module(record, path), _checked_inputs(example_inputs, path)


def _split(made: Any, path: str) -> tuple[Any, Any]:
    if type(made) in (tuple, list) and len(made) == 2:
        return made[0], made[1]
    return made, None


def _checked_inputs(example_inputs: Any, path: str) -> Any:
    """Return example inputs made of tensors only, in plain containers."""
    where = f"{path}: an example input"
    if example_inputs is None:
        return None
    if isinstance(example_inputs, torch.Tensor):
        return check_tensor(example_inputs, where).detach()
    if type(example_inputs) in (tuple, list):
        return tuple(check_tensor(value, where).detach() for value in example_inputs)
    if type(example_inputs) is dict and all(type(key) is str for key in example_inputs):
        return {key: check_tensor(value, where).detach() for key, value in example_inputs.items()}
    raise ModelError(f"{path}: example inputs must be tensors, in a tuple or a dict")


def _on_meta(inputs: Sequence[InputSpec]) -> Any:
    values = [torch.empty(spec.shape, dtype=spec.dtype, device="meta") for spec in inputs]
    if all(spec.name == f"input_{at}" for at, spec in enumerate(inputs)):
        return tuple(values)
    return {spec.name: value for spec, value in zip(inputs, values, strict=True)}


def _read_weights(path: str) -> Mapping[str, torch.Tensor]:
    module, _ = _read(path, "cpu")
    weights: dict[str, torch.Tensor] = {}
    copies: dict[int, torch.Tensor] = {}
    for named in (module.named_parameters, module.named_buffers):
        for name, tensor in named(remove_duplicate=False):
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().clone()  # off the mapped file
            weights[name] = copies[id(tensor)]
    return weights


def _no_module(path: str, made: Any) -> str:
    if isinstance(made, Mapping) and not any(
        isinstance(value, torch.nn.Module) for value in made.values()
    ):
        names = [str(key) for key in made][:3]
        return (
            f"{path}: holds weights only ({len(made)} entries: {', '.join(names)[:80]}, ...), not "
            "the model; export it to .pt2, or name a factory package.module:function that builds "
            "it and loads them"
        )
    return f"{path}: holds a {type(made).__name__[:40]}, not a module"


def _no_inputs(path: str) -> str:
    return (
        f"{path}: holds no example inputs; say --input SHAPE:DTYPE, such as 2x3x32x32:float32, "
        "batch first"
    )


def _model_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0] or "model"
