"""Frontier: what a model can do in more and more bytes, as one answer per budget."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from memplan.ir.answer import Answer
from memplan.ir.base import Contract, Document, Name
from memplan.ir.errors import MemplanError
from memplan.ir.limits import MAX_FRONTIER
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest

__all__ = ["Frontier", "FrontierPoint"]


class FrontierPoint(Contract):
    """What was found for one budget."""

    #: With the budget, and its part of the time limit.
    request: PlanRequest
    answer: Answer

    @property
    def budget_bytes(self) -> int:
        """The budget that was asked for."""
        return self.request.budget_bytes


class Frontier(Document):
    """Answers over a range of budgets, the smallest first.

    Monotone: a larger budget has a plan wherever a smaller one has, and none that is worse:
    importance never falls, at equal importance time never rises, and at equal time bytes do not.
    """

    error: ClassVar[type[MemplanError]] = MemplanError

    schema_: Annotated[Literal["memplan.frontier/1"], Field(alias="schema")] = "memplan.frontier/1"
    graph_hash: Name
    points: Annotated[tuple[FrontierPoint, ...], Field(min_length=1, max_length=MAX_FRONTIER)]
    solve_seconds: Annotated[float, Field(ge=0)] = 0.0

    model_config = Document.model_config | {"populate_by_name": True}

    @model_validator(mode="after")
    def _is_ascending(self) -> Frontier:
        budgets = [point.budget_bytes for point in self.points]
        if any(a >= b for a, b in pairwise(budgets)):
            raise ValueError("budgets must ascend, each once")
        return self

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans, of those budgets that have one."""
        return tuple(point.answer.plan for point in self.points if point.answer.plan is not None)
