"""Element by element: what ATen computes into given bytes under another name, and chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from memplan.clients.executors.torch.kernels.aten import generic
from memplan.clients.executors.torch.kernels.call import Call, Kernel, Run, Running

__all__ = ["elementwise", "relu", "scalar", "substitute"]


def relu(call: Call) -> Run:
    """``aten.relu``, whose own ``out=`` computes a temporary."""
    return partial(torch.clamp_min, call.arguments[0], 0, out=call.writes[0])


def scalar(function: Callable[..., torch.Tensor], call: Call) -> Run:
    """``aten.add.Scalar`` and its kin, whose own ``out=`` computes a temporary."""
    arguments, keywords = call.arguments, dict(call.keywords)
    if len(arguments) > 2:
        keywords["alpha"] = arguments[2]
    x, other = arguments[:2]
    if torch.result_type(x, other) != call.writes[0].dtype:
        return generic(call)
    return partial(function, x, other, **keywords, out=call.writes[0])


def substitute(argument: Any, value: Any) -> Any:
    """Return an argument tree with ``value`` where it names the running value."""
    if isinstance(argument, Running):
        return value
    if isinstance(argument, list | tuple):
        return [substitute(part, value) for part in argument]
    return argument


def elementwise(bind: Kernel, call: Call) -> Run:
    """``memplan.elementwise``: a program over one running value, in the output's own bytes."""
    (out,) = call.writes
    runs = []
    for entry in call.arguments:
        if not isinstance(entry, list | tuple) or len(entry) < 2 or not isinstance(entry[0], str):
            raise call.fail("an entry of the program must be [target, [arguments], [keywords]]")
        target, arguments, *rest = entry
        keywords: Mapping[str, Any] = dict(rest[0]) if rest else {}
        runs.append(
            bind(
                replace(
                    call,
                    target=target,
                    arguments=tuple(substitute(arguments, out)),
                    keywords={name: substitute(value, out) for name, value in keywords.items()},
                )
            )
        )

    def run() -> None:
        for part in runs:
            part()

    return run
