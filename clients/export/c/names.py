"""Identifiers of C from names of tensors, operations and layers."""

from __future__ import annotations

import re

__all__ = ["Names", "identifier", "quoted"]

_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while asm
    """.split()  # noqa: SIM905
)
_LONGEST = 60


def identifier(name: str) -> str:
    """Return ``name`` as a C identifier: ``3.conv1:0`` is ``t3_conv1_0``."""
    text = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_LONGEST].rstrip("_") or "unnamed"
    return f"t{text}" if text[0].isdigit() or text in _KEYWORDS else text


def quoted(text: str) -> str:
    """Return a C string literal in plain ASCII."""
    plain = "".join(
        char if " " <= char <= "~" and char not in '"\\?' else f"\\{ord(char) & 0xFF:03o}"
        for char in text
    )
    return f'"{plain}"'


class Names:
    """Gives every thing a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, name: str) -> str:
        """Return an identifier for ``name`` that no one has yet."""
        base = identifier(name)
        candidate, number = base, 1
        while candidate.lower() in self._taken:
            number += 1
            candidate = f"{base}_{number}"
        self._taken.add(candidate.lower())
        return candidate
