"""What the plan chose, against what the request allows: batch, micro-batch, mask, alternatives."""

from __future__ import annotations

from memplan.ir.blocks import cover_allowed
from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Facts
from memplan.ir.errors import RequestError
from memplan.ir.options import update_options
from memplan.ir.sizes import alternative_allowed

__all__ = ["check_selection"]


def check_selection(facts: Facts, findings: Findings) -> None:
    """Check batch, micro-batch, trips, mask and the axes of alternatives."""
    _check_batch(facts, findings)
    _check_mask(facts, findings)
    for execution in facts.executions:
        if not alternative_allowed(execution.operation, execution.alternative, facts.mask):
            findings.add(
                Rule.ALTERNATIVE,
                f"{execution.operation.id}: alternative {execution.alternative.name} is for a mask "
                f"along {', '.join(execution.alternative.axes or ())} only",
                execution.index,
            )
        if not cover_allowed(facts.graph, execution.alternative, facts.mask):
            findings.add(
                Rule.ALTERNATIVE,
                f"{execution.operation.id}: alternative {execution.alternative.name} updates "
                "parameters as well, and the mask freezes one of them",
                execution.index,
            )


def _check_batch(facts: Facts, findings: Findings) -> None:
    graph, plan = facts.graph, facts.plan
    if plan.batch != plan.request.batch:
        findings.add(
            Rule.REQUEST, f"the plan's batch is {plan.batch}, the request's {plan.request.batch}"
        )
    if not graph.batch_symbolic and plan.batch != graph.traced_batch:
        findings.add(
            Rule.REQUEST,
            f"the batch is {plan.batch}, but the graph holds for {graph.traced_batch} samples only",
        )
    if plan.request.micro_batch not in ("auto", plan.micro_batch):
        findings.add(
            Rule.MICRO_BATCH,
            f"the micro-batch is {plan.micro_batch}, requested was {plan.request.micro_batch}",
        )
    if plan.micro_batch * plan.trips != plan.batch:
        findings.add(
            Rule.MICRO_BATCH,
            f"{plan.trips} trips of {plan.micro_batch} samples are not a batch of {plan.batch}",
        )
    if plan.trips > 1 and not graph.batch_symbolic:
        findings.add(Rule.MICRO_BATCH, "the graph's batch is fixed, so there is one trip only")
    if plan.trips > 1 and graph.batch_coupled_by:
        findings.add(
            Rule.MICRO_BATCH,
            f"samples are coupled ({graph.batch_coupled_by}), so there is one trip only",
        )


def _check_mask(facts: Facts, findings: Findings) -> None:
    graph, plan = facts.graph, facts.plan
    if len(facts.mask) < len(plan.mask):
        findings.add(Rule.MASK, "a layer stands twice in the mask")
    try:
        options = update_options(graph, plan.request)
    except RequestError as contradiction:
        findings.add(Rule.MASK, f"the request contradicts the graph: {contradiction}")
        return
    for update in plan.mask:
        if update.layer not in options:
            findings.add(Rule.MASK, f"the graph has no layer {update.layer!r}")
        elif update not in options[update.layer]:
            findings.add(
                Rule.MASK,
                f"layer {update.layer}: the request does not allow to update "
                f"{_describe(update.weight, len(update.channels), update.bias)}",
            )
    for name, choices in options.items():
        if name not in facts.mask and None not in choices:
            findings.add(Rule.MASK, f"layer {name}: the request has it updated, the plan does not")
    if graph.mode == "train" and not plan.mask:
        findings.add(Rule.MASK, "mode train, but no layer is updated")


def _describe(weight: str, channels: int, bias: bool) -> str:
    what = {"none": "no weight", "whole": "the whole weight"}.get(
        weight, f"these {channels} {weight} channels"
    )
    return f"{what} and {'the' if bias else 'no'} bias"
