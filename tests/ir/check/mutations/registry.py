"""What a mutation is: it takes a valid plan and yields broken ones.

It yields nothing where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from memplan.ir.check import Rule
from memplan.ir.graph import Alternative, Operation
from memplan.ir.plan import Buffer, Plan
from tests.ir.check.bases import Case

__all__ = ["MUTATIONS", "last_reads", "mutation", "operation_at", "way_at", "written"]

Mutation = Callable[[Case], Iterator[Plan]]
MUTATIONS: dict[str, tuple[Rule, Mutation, bool]] = {}


def mutation(rule: Rule, alone: bool = False) -> Callable[[Mutation], Mutation]:
    """Register a mutation; ``alone``: no other rule may be broken."""

    def register(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__] = (rule, function, alone)
        return function

    return register


def operation_at(case: Case, index: int) -> Operation:
    return case.graph.operation[case.plan.steps[index].operation]


def way_at(case: Case, index: int) -> Alternative:
    name = case.plan.steps[index].alternative
    return next(way for way in operation_at(case, index).alternatives if way.name == name)


def written(case: Case) -> list[Buffer]:
    """Return the buffers that some step writes, in order of their first step."""
    places = {place for step in case.plan.steps for place in step.writes}
    return [case.plan.buffers[place] for place in sorted(places)]


def last_reads(case: Case) -> list[tuple[int, Buffer]]:
    """Return (last reading step, buffer) of every written buffer that is read."""
    last: dict[int, int] = {}
    for index, step in enumerate(case.plan.steps):
        for place in step.reads:
            if place is not None:
                last[place] = index
    return [(last[b.id], b) for b in written(case) if b.id in last]
