"""What all contract models share: strict, frozen, no unknown fields, canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memplan.ir.collector import collector_paused
from memplan.ir.errors import MemplanError
from memplan.ir.limits import MAX_JSON_BYTES, MAX_NAME

__all__ = ["Contract", "Document", "Name", "canonical_json", "content_hash"]

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class Contract(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        # JSON has arrays only; tuples keep the models hashable and immutable.
        ser_json_inf_nan="constants",
    )


class Document(Contract):
    """A versioned document that travels as JSON on its own."""

    #: What a malformed document raises.
    error: ClassVar[type[MemplanError]] = MemplanError

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "input") -> Self:
        """Read and validate a document.

        Args:
            text: JSON.
            source: where it came from, for the error message.

        Raises:
            MemplanError: of the subclass's own kind, one line, naming the first bad field.
        """
        if len(text) > MAX_JSON_BYTES:
            raise cls.error(
                f"{source}: {len(text)} bytes of JSON, at most {MAX_JSON_BYTES} are read"
            )
        try:
            with collector_paused():
                return cls.model_validate_json(text)
        except ValidationError as failure:
            raise cls.error(f"{source}: {_first_problem(failure)}") from None
        except RecursionError:
            raise cls.error(f"{source}: nested too deeply") from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with fields changed, unvalidated, and without cached properties.

        pydantic's own would take the properties cached from the old fields along.
        """
        copy = super().model_copy(update=update, deep=deep)
        for name in set(vars(copy)) - set(type(self).model_fields):
            del vars(copy)[name]
        return copy

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, one trailing newline."""
        with collector_paused():
            return canonical_json(self.model_dump(mode="json", by_alias=True)) + "\n"

    def content_hash(self) -> str:
        """Return ``sha256:<hex>`` of the canonical JSON."""
        with collector_paused():
            return content_hash(self.model_dump(mode="json", by_alias=True))


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_hash(value: Any) -> str:
    """Return ``sha256:<hex>`` of the canonical JSON of a JSON-like value."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _first_problem(failure: ValidationError) -> str:
    errors = failure.errors(include_url=False, include_context=False)
    # Of a union every member complains; the one that got furthest was meant.
    first = max(errors, key=lambda error: len(error["loc"]))
    where = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    more = failure.error_count() - 1
    message = first["msg"].removeprefix("Value error, ")
    return (f"{where}: " if where else "") + message + (f" (and {more} more)" if more else "")
