"""Every figure of the plan, recomputed; and the limits that the request sets on them."""

from __future__ import annotations

from dataclasses import dataclass

from memplan.ir.baseline import baseline_bytes
from memplan.ir.blocks import block_cost
from memplan.ir.check.buffers import ram_regions
from memplan.ir.check.occupancy import Occupancy
from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Facts
from memplan.ir.graph import Alternative, Operation
from memplan.ir.importance import importance_units, total_units
from memplan.ir.sizes import alternative_allowed, alternative_cost, frozen_bytes

__all__ = ["check_limits", "check_totals"]


@dataclass(frozen=True, slots=True)
class _PlainStep:
    """MACs of the same mask and micro-batch without any recomputation."""

    macs: int
    forward_macs: int


def check_totals(facts: Facts, occupancy: Occupancy, findings: Findings) -> None:
    """Compare live bytes, peak and totals with what the steps and buffers give."""
    if occupancy.consistent:
        _check_live_bytes(facts, occupancy, findings)
    plain = _plain_step(facts)
    macs, time_ns = _costs(facts)
    runs: dict[str, int] = {}
    for execution in facts.executions:
        if execution.section == "body":
            runs[execution.operation.id] = runs.get(execution.operation.id, 0) + 1
    expected = {
        "arena_bytes": _arena_bytes(facts),
        "persistent_bytes": sum(
            b.size_bytes for b in facts.plan.buffers if b.scope == "persistent"
        ),
        "frozen_bytes": frozen_bytes(facts.graph, facts.plan.micro_batch, facts.mask),
        "macs": macs,
        "plain_macs": plain.macs,
        "time_ns": time_ns,
        "recomputed_operations": sum(count > 1 for count in runs.values()),
        "baseline_bytes": baseline_bytes(facts.graph, facts.plan.batch),
    }
    if occupancy.consistent:
        body = facts.sections["body"]
        expected["peak_live_bytes"] = max(occupancy.live_bytes[body.start : body.stop])
    if not findings.has(Rule.MASK):
        expected |= _importance(facts, findings)
    for field, value in expected.items():
        claimed = getattr(facts.plan.totals, field)
        if claimed != value:
            findings.add(Rule.TOTALS, f"{field} is {value}, the plan says {claimed}")


def check_limits(facts: Facts, findings: Findings) -> None:
    """Check budget, flash and the compute limit, on recomputed figures."""
    request, device = facts.plan.request, facts.plan.request.device
    arena_bytes = _arena_bytes(facts)
    frozen = frozen_bytes(facts.graph, facts.plan.micro_batch, facts.mask)
    if arena_bytes > request.budget_bytes:
        findings.add(
            Rule.BUDGET,
            f"the arena takes {arena_bytes} bytes of a budget of {request.budget_bytes}",
        )
    if device is not None and device.weights == "ram":
        available = sum(
            region.size_bytes - region.reserved_bytes
            for region in ram_regions(facts).values()
            if region is not None
        )
        if arena_bytes + frozen > min(request.budget_bytes, available):
            findings.add(
                Rule.BUDGET,
                f"arena ({arena_bytes} bytes) and frozen weights ({frozen} bytes) lie in RAM, of "
                f"which there are {min(request.budget_bytes, available)} bytes",
            )
    elif device is not None:
        flash = [region for region in device.regions if region.kind == "flash"]
        available = sum(region.size_bytes - region.reserved_bytes for region in flash)
        if flash and frozen > available:
            findings.add(
                Rule.BUDGET, f"frozen weights take {frozen} bytes, the flash has {available}"
            )
    if request.compute_limit is not None:
        plain = _plain_step(facts)
        extra = _costs(facts)[0] - plain.macs
        if extra > request.compute_limit * plain.forward_macs:
            findings.add(
                Rule.COMPUTE_LIMIT,
                f"{extra} extra MACs are more than {request.compute_limit} of the "
                f"{plain.forward_macs} of one forward pass",
            )


def _arena_bytes(facts: Facts) -> int:
    """Return the highest end of any buffer, added up over the regions of RAM in use."""
    ends: dict[str, int] = {}
    for buffer in facts.plan.buffers:
        ends[buffer.region] = max(ends.get(buffer.region, 0), buffer.offset + buffer.size_bytes)
    return sum(ends.values())


def _costs(facts: Facts) -> tuple[int, int]:
    """Return MACs and nanoseconds of one batch."""
    plan, rates = facts.plan, facts.plan.request.rates
    macs = time_ns = 0
    known: dict[tuple[str, str], tuple[int, int]] = {}
    for execution in facts.executions:
        key = (execution.operation.id, execution.alternative.name)
        if key not in known:
            known[key] = block_cost(
                facts.graph,
                execution.operation,
                execution.alternative,
                plan.micro_batch,
                facts.mask,
            )
        step_macs, moved_bytes = known[key]
        times = plan.trips if execution.section == "body" else 1
        macs += times * step_macs
        time_ns += times * rates.time_ns(step_macs, moved_bytes)
    return macs, time_ns


def _plain_step(facts: Facts) -> _PlainStep:
    """Cost what outputs, updates and statistics need, each operation by its first way, once."""
    plan = facts.plan
    updating = "update" if plan.trips == 1 else "accumulate"
    wanted = set(facts.graph.outputs)
    macs = forward_macs = 0
    for operation in reversed(facts.graph.operations):
        if operation.phase in ("forward", "backward"):
            times = plan.trips if not wanted.isdisjoint(operation.writes) else 0
        elif operation.phase == "statistics":
            times = plan.trips
        elif operation.parameter not in facts.updated:
            times = 0
        elif operation.phase == updating:
            times = plan.trips
        else:
            times = int(plan.trips > 1 and operation.phase in ("clear", "apply"))
        if not times:
            continue
        first = _first_allowed(facts, operation)
        cost = times * alternative_cost(operation, first, plan.micro_batch, facts.mask)[0]
        macs += cost
        forward_macs += cost if operation.phase == "forward" else 0
        wanted.update(operand.tensor for operand in first.reads)
    return _PlainStep(macs, forward_macs)


def _first_allowed(facts: Facts, operation: Operation) -> Alternative:
    for alternative in operation.alternatives:
        if alternative_allowed(operation, alternative, facts.mask):
            return alternative
    return operation.alternatives[0]


def _importance(facts: Facts, findings: Findings) -> dict[str, int]:
    plan = facts.plan
    try:
        units = importance_units(facts.graph, plan.request, plan.mask)
        return {
            "importance": sum(units.values()),
            "importance_total": total_units(facts.graph, plan.request),
        }
    except (OverflowError, ValueError, ZeroDivisionError) as failure:
        findings.add(Rule.TOTALS, f"the graph's importance cannot be added up: {failure}")
        return {}


def _check_live_bytes(facts: Facts, occupancy: Occupancy, findings: Findings) -> None:
    plan, body = facts.plan, facts.sections["body"]
    expected = occupancy.live_bytes[body.start : body.stop]
    if len(plan.live_bytes) != len(expected):
        findings.add(
            Rule.LIVE_BYTES,
            f"live bytes of {len(plan.live_bytes)} steps for a body of {len(expected)}",
        )
    for place, (claimed, value) in enumerate(zip(plan.live_bytes, expected, strict=False)):
        if claimed != value:
            findings.add(
                Rule.LIVE_BYTES,
                f"{value} bytes are live, the plan says {claimed}",
                body.start + place,
            )
    _check_peak(facts, occupancy, findings)


def _check_peak(facts: Facts, occupancy: Occupancy, findings: Findings) -> None:
    peak, body = facts.plan.peak, facts.sections["body"]
    if peak.step not in body:
        findings.add(Rule.PEAK, f"the peak is at step {peak.step}, outside the body")
        return
    most = max(occupancy.live_bytes[body.start : body.stop])
    if occupancy.live_bytes[peak.step] != most:
        findings.add(
            Rule.PEAK,
            f"the peak of {most} bytes is not at step {peak.step}, where "
            f"{occupancy.live_bytes[peak.step]} bytes live",
            peak.step,
        )
    operation = facts.plan.steps[peak.step].operation
    if peak.operation != operation:
        findings.add(
            Rule.PEAK, f"step {peak.step} runs {operation}, not {peak.operation}", peak.step
        )
    live = sorted(
        (-buffer.size_bytes, facts.name(buffer))
        for buffer in facts.plan.buffers
        if buffer.start_step <= peak.step < buffer.end_step
    )
    claimed = [(-tensor.size_bytes, tensor.tensor) for tensor in peak.tensors]
    if sorted(claimed) != live:
        findings.add(
            Rule.PEAK,
            f"{len(live)} buffers live at step {peak.step}; the plan lists {len(claimed)}, and not "
            "the same with the same sizes",
            peak.step,
        )
    elif [size for size, _ in claimed] != [size for size, _ in live]:
        findings.add(Rule.PEAK, "what lives at the peak is not listed largest first", peak.step)
