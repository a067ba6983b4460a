"""Is an answer what it says it is?  Status, plan, bound and budget must agree with each other.

That nothing smaller exists cannot be seen from an answer, as it cannot be seen from a plan; that
what it says contradicts itself, its plan or the question can.
"""

from __future__ import annotations

from memplan.ir.answer import Answer
from memplan.ir.check import require
from memplan.ir.errors import PlanRejectedError
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from memplan.ir.sizes import frozen_bytes

__all__ = ["answer_faults", "require_answer"]


def require_answer(graph: OpGraph, request: PlanRequest, answer: Answer) -> None:
    """Return if the checker accepts the answer's plan, and the answer does not contradict itself.

    Raises:
        PlanRejectedError: it does not; the first fault stands in the message.
    """
    if answer.plan is not None:
        require(graph, answer.plan)
    faults = answer_faults(graph, request, answer)
    if faults:
        raise PlanRejectedError(f"answer for {graph.name} rejected: {faults[0]}; plan it again")


def answer_faults(graph: OpGraph, request: PlanRequest, answer: Answer) -> list[str]:
    """Return what is wrong with an answer to this question, its plan's own rules aside."""
    found = answer.smallest_found_bytes
    faults = []
    if found is not None and answer.lower_bound_bytes > found:
        faults.append(
            f"{answer.lower_bound_bytes} bytes are said to be needed, and {found} were found"
        )
    return faults + (_of_plan(request, answer) if answer.plan else _of_none(graph, request, answer))


def _of_plan(request: PlanRequest, answer: Answer) -> list[str]:
    plan = answer.plan
    assert plan is not None
    certificate = plan.certificate
    faults = []
    if answer.status != certificate.status:
        faults.append(f"the answer is {answer.status}, its plan {certificate.status}")
    if plan.request != request:
        faults.append("the plan is of another request")
    if answer.lower_bound_bytes != certificate.lower_bound_bytes:
        faults.append(
            f"the answer's bound is {answer.lower_bound_bytes} bytes, that of its plan "
            f"{certificate.lower_bound_bytes}"
        )
    if answer.baseline_bytes != plan.totals.baseline_bytes:
        faults.append(
            f"the answer's baseline is {answer.baseline_bytes} bytes, that of its plan "
            f"{plan.totals.baseline_bytes}"
        )
    found = answer.smallest_found_bytes
    if found is None or found > plan.totals.arena_bytes:
        faults.append(f"the smallest plan found has {found} bytes, this one fewer")
    return faults


def _of_none(graph: OpGraph, request: PlanRequest, answer: Answer) -> list[str]:
    if answer.status in ("optimal", "feasible"):
        return [f"the answer is {answer.status}, and has no plan"]
    faults = []
    if answer.explanation is None:
        faults.append(f"the answer is {answer.status}, and does not say why")
    budget, bound, found = request.budget_bytes, answer.lower_bound_bytes, _found(request, answer)
    if answer.status == "infeasible" and bound + _frozen(graph, request) <= budget:
        faults.append(f"said to be infeasible in {budget} bytes, but {bound} is all that is proven")
    if answer.status == "undecided" and bound > budget:
        faults.append(
            f"said to be undecided, but {bound} of {budget} bytes are proven to be needed"
        )
    if found is not None and found <= budget:
        faults.append(f"said to be {answer.status}, but a plan of {found} bytes was found")
    return faults


def _frozen(graph: OpGraph, request: PlanRequest) -> int:
    """Return the most bytes that frozen weights may take of the budget."""
    if request.device is None or request.device.weights != "ram":
        return 0
    return frozen_bytes(graph, request.batch, {})


def _found(request: PlanRequest, answer: Answer) -> int | None:
    """Return the smallest arena that was found, where the budget is all that it must keep."""
    return answer.smallest_found_bytes if request.device is None else None
