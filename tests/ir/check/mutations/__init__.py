"""Every kind of broken plan, by the rule that it breaks."""

from __future__ import annotations

from tests.ir.check.mutations import buffers, choices, contents, figures, references, used_up
from tests.ir.check.mutations.registry import MUTATIONS

__all__ = ["MUTATIONS", "buffers", "choices", "contents", "figures", "references", "used_up"]
