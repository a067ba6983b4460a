"""``package.module:function``: a Python function that builds the model.

Running it is the point, so it runs with the rights of the user who names it.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from memplan.ir.errors import ModelError
from memplan.tracing.loaded import InputSpec, LoadedModel
from memplan.tracing.loaders.export import load_module
from memplan.tracing.loaders.failures import one_line
from memplan.tracing.loaders.inputs import sample_inputs

__all__ = ["is_factory", "load_factory"]

_FACTORY = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")


def is_factory(argument: str) -> bool:
    """Tell whether ``argument`` reads ``package.module:function``."""
    return _FACTORY.fullmatch(argument) is not None


def load_factory(argument: str, inputs: Sequence[InputSpec] = ()) -> LoadedModel:
    """Call ``package.module:function`` and export what it returns.

    The function takes no arguments and returns a module, or a pair (module, example inputs)
    where example inputs are a tensor, a tuple or a dict of keyword arguments.  Modules of the
    current directory can be named.

    Raises:
        ModelError: there is no such function, it fails, or its model cannot be exported.
    """
    match = _FACTORY.fullmatch(argument)
    if match is None:
        raise ModelError(f"{argument}: a factory is written package.module:function")
    with _current_directory_importable():
        made = _call(argument, match["module"], match["function"])
        module, example_inputs = _split(argument, made)
        if inputs:
            example_inputs = _from_specs(inputs)
        if example_inputs is None:
            raise ModelError(
                f"{argument}: the factory returned no example inputs; return (module, inputs), "
                "or say --input SHAPE:DTYPE"
            )
        return load_module(module, example_inputs, match["function"], source=argument)


def _call(argument: str, module_name: str, function_name: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ModelError(f"{argument}: cannot import {module_name} ({one_line(error)})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ModelError(f"{argument}: {module_name} has no function {function_name}")
    try:
        return function()
    except Exception as error:  # so may the user's own code
        raise ModelError(f"{argument}: the factory failed ({one_line(error)})") from error


def _split(argument: str, made: Any) -> tuple[torch.nn.Module, Any]:
    if isinstance(made, torch.nn.Module):
        return made, None
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        return made
    raise ModelError(
        f"{argument}: the factory must return a torch.nn.Module or (module, example inputs), "
        f"not {type(made).__name__}"
    )


def _from_specs(inputs: Sequence[InputSpec]) -> Any:
    values = sample_inputs(inputs)
    if all(spec.name == f"input_{position}" for position, spec in enumerate(inputs)):
        return values
    return {spec.name: value for spec, value in zip(inputs, values, strict=True)}


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
