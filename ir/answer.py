"""Answer: what a user gets back for a graph and a request, with a plan or without one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from memplan.ir.base import Contract, Document, Name
from memplan.ir.errors import MemplanError
from memplan.ir.plan import Plan

__all__ = ["Answer", "Explanation", "Remedy"]


class Remedy(Contract):
    """Something that would help, with the bytes that it leads to."""

    action: Name
    #: Proven lower bound, or the size of a plan that was found, once the action is taken.
    bytes_after: int
    proven: bool


class Explanation(Contract):
    """Why nothing fits, or nothing was found."""

    reason: Name
    operation: str = ""
    tensors: tuple[tuple[str, int], ...] = ()
    remedies: tuple[Remedy, ...] = ()


class Answer(Document):
    """The result of planning.

    ``infeasible`` is proved without restrictions; where the search ended without a plan and
    without such a proof the answer is ``undecided``.
    """

    error: ClassVar[type[MemplanError]] = MemplanError

    schema_: Annotated[Literal["memplan.answer/1"], Field(alias="schema")] = "memplan.answer/1"
    status: Literal["optimal", "feasible", "infeasible", "undecided"]
    plan: Plan | None
    #: Proven: no plan that the request allows needs fewer bytes.
    lower_bound_bytes: Annotated[int, Field(ge=0)]
    #: Arena of the smallest plan that was found, inside the budget or not; null if none.
    smallest_found_bytes: int | None
    baseline_bytes: int
    explanation: Explanation | None = None
    solve_seconds: float = 0.0

    model_config = Document.model_config | {"populate_by_name": True}
