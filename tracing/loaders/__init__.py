"""Loaders: any model file -> ``LoadedModel``.

A new kind of file is one module and one line in ``_LOADERS``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from memplan.ir.errors import ModelError, RequestError
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.export import load_module
from memplan.tracing.loaders.factory import is_factory, load_factory
from memplan.tracing.loaders.fake_run import at_batch
from memplan.tracing.loaders.inputs import parse_input, parse_inputs
from memplan.tracing.loaders.pickled import load_pickled
from memplan.tracing.loaders.pt2 import load_pt2, read_pt2_weights
from memplan.tracing.loaders.sniff import Kind, sniff

__all__ = ["load", "load_module", "parse_input", "parse_inputs", "read_pt2_weights"]

_Loader = Callable[[str, Sequence[InputSpec], bool], LoadedModel]


def load(argument: str, *, inputs: Sequence[str] = (), trust: bool = False) -> LoadedModel:
    """Load a model: a ``.pt2``, ``.pt`` or ``.pth`` file, or a factory ``package.module:function``.

    Args:
        argument: path or factory.  What a file is, its content tells.
        inputs: shapes as ``parse_input`` reads them, for models that bring none.
        trust: unpickle in the ordinary way, which runs code that the file carries.

    Raises:
        ModelError: the model cannot be read, is not trusted or cannot be exported.
        RequestError: an input is malformed.
    """
    specs = parse_inputs(inputs)
    if not os.path.exists(argument):
        if is_factory(argument):
            return load_factory(argument, specs)
        raise ModelError(
            f"{argument}: no such file; a model is a .pt2 or .pt file or package.module:function"
        )
    if not os.path.isfile(argument):
        raise ModelError(f"{argument}: not a regular file")
    return _LOADERS[sniff(argument)](argument, specs, trust)


def _pt2(path: str, specs: Sequence[InputSpec], trust: bool) -> LoadedModel:
    loaded = load_pt2(path)
    return _at_inputs(loaded, specs) if specs else loaded


def _at_inputs(loaded: LoadedModel, specs: Sequence[InputSpec]) -> LoadedModel:
    """Return an exported program at the batch of ``specs``; all else is the file's own."""
    own = loaded.inputs
    batch = specs[0].shape[0]
    wanted = at_batch(own, loaded.batch, batch) if loaded.batch_free else own
    said = [(spec.shape, spec.dtype) for spec in specs]
    if said != [(spec.shape, spec.dtype) for spec in wanted]:
        shapes = ", ".join("x".join(map(str, spec.shape)) for spec in own)
        free = "batch apart" if loaded.batch_free else "batch included"
        raise RequestError(
            f"--input: {loaded.source} was exported for inputs {shapes}, {free}; leave --input out"
        )
    return dataclasses.replace(loaded, inputs=wanted)


def _pickle(path: str, specs: Sequence[InputSpec], trust: bool) -> LoadedModel:
    return load_pickled(path, specs, trust=trust)


def _legacy_pickle(path: str, specs: Sequence[InputSpec], trust: bool) -> LoadedModel:
    if trust:
        return load_pickled(path, specs, trust=True)
    raise ModelError(
        f"{path}: a bare pickle (from before torch 1.6, or not torch's); save the module again "
        "with torch.save, or use --trust if the file is yours"
    )


def _torchscript(path: str, specs: Sequence[InputSpec], trust: bool) -> LoadedModel:
    raise ModelError(
        f"{path}: a TorchScript file, which runs code when it is loaded; export the original "
        "module with torch.export.save to a .pt2"
    )


def _unknown(path: str, specs: Sequence[InputSpec], trust: bool) -> LoadedModel:
    raise ModelError(
        f"{path}: neither a .pt2 nor a file of torch.save; export the model with torch.export.save"
    )


_LOADERS: dict[Kind, _Loader] = {
    "pt2": _pt2,
    "pickle": _pickle,
    "legacy pickle": _legacy_pickle,
    "torchscript": _torchscript,
    "unknown": _unknown,
}
