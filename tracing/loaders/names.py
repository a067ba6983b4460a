"""Names of parameters that come from a file.

fx writes Python source with these names in it, so a name is checked before it gets there.
"""

from __future__ import annotations

import keyword
import re

import torch

from memplan.ir.errors import ModelError
from memplan.ir.limits import MAX_NAME

__all__ = ["check_name", "input_name"]

_QUALIFIED = re.compile(r"\w+(?:\.\w+){0,63}", re.ASCII)


def check_name(name: str, where: str) -> str:
    """Return ``name`` if it can be the qualified name of a parameter or buffer.

    Raises:
        ModelError: it holds other characters than letters, digits, ``_`` and ``.``, is too long,
            or would hide an attribute of ``torch.nn.Module``.
    """
    if len(name) > MAX_NAME or _QUALIFIED.fullmatch(name) is None:
        raise ModelError(f"{where}: {name[:60]!r} cannot be the name of a parameter or buffer")
    first, *others = name.split(".")
    taken = next((part for part in others if hasattr(torch.nn.Module, part)), None)
    if hasattr(torch.fx.GraphModule, first) or first.startswith("__"):
        taken = first
    if taken is not None:
        raise ModelError(
            f"{where}: {name!r} hides torch.nn.Module.{taken}; rename {taken!r} in the model"
        )
    return name


def input_name(name: str, position: int) -> str:
    """Return ``name`` if it can be an argument of a function, else ``input_N``."""
    taken = keyword.iskeyword(name) or name in ("self", "torch", "device", "inf", "nan")
    simple = re.fullmatch(r"[A-Za-z]\w{0,80}", name, re.ASCII) is not None
    return name if simple and not taken else f"input_{position}"
