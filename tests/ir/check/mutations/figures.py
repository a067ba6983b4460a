"""Broken limits, forged figures, forged certificates."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.plan import PeakTensor, Plan
from tests.ir.check.bases import (
    Case,
    with_certificate,
    with_level,
    with_request,
    with_totals,
)
from tests.ir.check.mutations.registry import mutation
from tests.support.naive_plan import naive_plan

# Limits and figures.


@mutation(Rule.BUDGET, alone=True)
def over_the_budget(case: Case) -> Iterator[Plan]:
    yield with_request(case.plan, budget_bytes=case.plan.totals.arena_bytes - 1)


@mutation(Rule.BUDGET, alone=True)
def frozen_weights_in_a_full_ram(case: Case) -> Iterator[Plan]:
    device = case.plan.request.device
    if device is not None:
        narrow = device.model_copy(update={"weights": "ram"})
        plan = naive_plan(case.graph, case.plan.request, mask=case.plan.mask[:1], reuse=True)
        assert plan.totals.frozen_bytes > 0
        yield with_request(
            plan,
            device=narrow,
            budget_bytes=plan.totals.arena_bytes + plan.totals.frozen_bytes - 1,
        )


@mutation(Rule.BUDGET, alone=True)
def frozen_weights_in_a_full_flash(case: Case) -> Iterator[Plan]:
    device = case.plan.request.device
    if device is not None:
        plan = naive_plan(case.graph, case.plan.request, mask=case.plan.mask[:1], reuse=True)
        flash = device.regions[1].model_copy(update={"size_bytes": plan.totals.frozen_bytes - 1})
        small = device.model_copy(update={"regions": (device.regions[0], flash)})
        yield with_request(plan, device=small)


@mutation(Rule.COMPUTE_LIMIT, alone=True)
def too_much_recomputation(case: Case) -> Iterator[Plan]:
    if case.plan.totals.macs > case.plan.totals.plain_macs:
        yield with_request(case.plan, compute_limit=0.0)


@mutation(Rule.TOTALS)
def forged_totals(case: Case) -> Iterator[Plan]:
    for name in type(case.plan.totals).model_fields:
        value = getattr(case.plan.totals, name)
        yield with_totals(case.plan, **{name: value + 1})
        if value:
            yield with_totals(case.plan, **{name: value - 1})


@mutation(Rule.LIVE_BYTES, alone=True)
def forged_live_bytes(case: Case) -> Iterator[Plan]:
    live = case.plan.live_bytes
    for place, value in enumerate(live):
        yield case.plan.model_copy(
            update={"live_bytes": (*live[:place], value - 1, *live[place + 1 :])}
        )
    yield case.plan.model_copy(update={"live_bytes": live[:-1]})
    yield case.plan.model_copy(update={"live_bytes": (*live, 0)})


@mutation(Rule.PEAK, alone=True)
def peak_elsewhere(case: Case) -> Iterator[Plan]:
    peak = case.plan.peak
    for step in (len(case.plan.prologue), len(case.plan.steps) + 5):
        if step != peak.step:
            yield case.plan.model_copy(update={"peak": peak.model_copy(update={"step": step})})
    other = next(s.operation for s in case.plan.steps if s.operation != peak.operation)
    yield case.plan.model_copy(update={"peak": peak.model_copy(update={"operation": other})})


@mutation(Rule.PEAK, alone=True)
def peak_of_other_tensors(case: Case) -> Iterator[Plan]:
    peak = case.plan.peak
    tensors = peak.tensors
    forged = [tensors[1:], tensors[::-1], (*tensors, PeakTensor(tensor="ghost", size_bytes=0))]
    for listed in forged:
        if [t.size_bytes for t in listed] != [t.size_bytes for t in tensors]:
            yield case.plan.model_copy(update={"peak": peak.model_copy(update={"tensors": listed})})


# Certificate.


@mutation(Rule.HASH, alone=True)
def certificate_of_something_else(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, graph_hash="sha256:0")
    yield with_certificate(case.plan, request_hash=case.plan.certificate.graph_hash)


@mutation(Rule.HASH)
def request_edited_after_the_fact(case: Case) -> Iterator[Plan]:
    request = case.plan.request.model_copy(update={"seed": 7})
    yield case.plan.model_copy(update={"request": request})


@mutation(Rule.LEVELS, alone=True)
def levels_in_disorder(case: Case) -> Iterator[Plan]:
    levels = case.plan.certificate.levels
    yield with_certificate(case.plan, levels=levels[::-1])
    yield with_certificate(case.plan, levels=levels[:-1])
    yield with_certificate(case.plan, levels=())


@mutation(Rule.LEVELS)
def level_is_not_the_total(case: Case) -> Iterator[Plan]:
    for level in case.plan.certificate.levels:
        yield with_level(case.plan, level.name, value=level.value + 1)
        other = "minimize" if level.sense == "maximize" else "maximize"
        yield with_level(case.plan, level.name, sense=other)


@mutation(Rule.BOUND)
def bound_beyond_the_value(case: Case) -> Iterator[Plan]:
    for level in case.plan.certificate.levels:
        beyond = level.value + (1 if level.sense == "minimize" else -1)
        gap = 1 / max(1, abs(level.value))
        yield with_level(case.plan, level.name, bound=beyond, gap=gap)


@mutation(Rule.BOUND, alone=True)
def lower_bound_above_the_arena(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, lower_bound_bytes=case.plan.totals.arena_bytes + 1)


@mutation(Rule.BOUND, alone=True)
def bound_below_an_open_level(case: Case) -> Iterator[Plan]:
    for number, level in enumerate(case.plan.certificate.levels):
        if number:
            plan = with_level(case.plan, level.name, bound=level.value, gap=0.0)
            yield plan
            above = case.plan.certificate.levels[number - 1]
            open_bound = above.value + (1 if above.sense == "maximize" else -1)
            gap = 1 / max(1, above.value)
            if number == 1:
                yield with_level(plan, above.name, bound=open_bound, gap=gap)


@mutation(Rule.BOUND, alone=True)
def bound_on_bytes_below_what_every_plan_needs(case: Case) -> Iterator[Plan]:
    plan = with_certificate(case.plan, lower_bound_bytes=2)
    yield plan
    size = case.plan.totals.arena_bytes
    yield with_level(plan, "arena_bytes", bound=1, gap=(size - 1) / size)


@mutation(Rule.BOUND, alone=True)
def time_that_every_plan_takes_contradicts_the_levels(case: Case) -> Iterator[Plan]:
    names = [level.name for level in case.plan.certificate.levels]
    time_ns = case.plan.totals.time_ns
    settled = _settled(case.plan, len(names))
    yield with_certificate(settled, lower_bound_time_ns=time_ns + 1)
    below = _settled(case.plan, names.index("time_ns"))
    below = with_level(below, "time_ns", bound=time_ns - 1, gap=1 / time_ns)
    yield with_certificate(below, lower_bound_time_ns=time_ns)
    if names[0] == "importance":
        yield with_certificate(case.plan, lower_bound_time_ns=1)


@mutation(Rule.GAP, alone=True)
def wrong_gap(case: Case) -> Iterator[Plan]:
    for number, level in enumerate(case.plan.certificate.levels):
        plan = _settled(case.plan, number)
        yield with_level(plan, level.name, gap=0.5)
        if level.sense == "minimize":
            bound = level.value // 2
            yield with_level(plan, level.name, bound=bound, gap=0.0)
            yield with_level(plan, level.name, bound=bound, gap=None)


@mutation(Rule.STATUS, alone=True)
def optimal_without_a_proof(case: Case) -> Iterator[Plan]:
    yield with_certificate(case.plan, status="optimal")


@mutation(Rule.STATUS, alone=True)
def optimal_with_a_gap(case: Case) -> Iterator[Plan]:
    levels = case.plan.certificate.levels
    level = levels[-1]
    bound = level.value - 1
    plan = _settled(case.plan, len(levels) - 1)
    plan = with_level(plan, level.name, bound=bound, gap=1 / level.value)
    yield with_certificate(plan, status="optimal")


@mutation(Rule.STATUS, alone=True)
def feasible_without_a_gap(case: Case) -> Iterator[Plan]:
    plan = _settled(case.plan, len(case.plan.certificate.levels))
    yield with_certificate(plan, restrictions=())


def _settled(plan: Plan, count: int) -> Plan:
    """Return the plan with the first levels at their bounds."""
    for level in plan.certificate.levels[:count]:
        plan = with_level(plan, level.name, bound=level.value, gap=0.0)
    return plan
