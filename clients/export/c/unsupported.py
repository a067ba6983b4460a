"""What has no kernel, all of it in one error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from memplan.ir.errors import ModelError

__all__ = ["Unsupported", "refusal"]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """An operation of a plan without C code."""

    operation: str
    layer: str | None
    target: str
    reason: str


def refusal(found: Sequence[Unsupported]) -> ModelError:
    """Return the error that names every operation and layer without a kernel."""
    groups: dict[tuple[str, str], list[Unsupported]] = defaultdict(list)
    for each in found:
        groups[each.target, each.reason].append(each)
    kinds = []
    for (target, reason), members in groups.items():
        names = ", ".join(map(_name, members))
        kinds.append(f"{target} ({reason}) at {names}")
    count = len(found)
    return ModelError(
        f"no C kernel for {count} operation{'s' if count > 1 else ''} of the plan: "
        f"{'; '.join(kinds)}; run it with plan run, or add a kernel (docs/c-executor.md)"
    )


def _name(each: Unsupported) -> str:
    layer = each.layer
    return (
        each.operation
        if layer is None or layer in each.operation
        else (f"{each.operation} of layer {layer}")
    )
