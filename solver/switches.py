"""Techniques by name: a dataclass of switches, all on unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

__all__ = ["Switches"]


@dataclass(frozen=True, slots=True)
class Switches:
    """Base of sets of switches; each field of a subclass is a technique."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all techniques, in the order in which they are declared."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def without(cls, *names: str) -> Self:
        """Return all techniques but those named.

        Raises:
            ValueError: no technique has such a name.
        """
        known = cls.names()
        for name in names:
            if name not in known:
                raise ValueError(f"no technique {name!r}; there are {', '.join(sorted(known))}")
        return cls(**{name: name not in names for name in known})
