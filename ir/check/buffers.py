"""Each buffer by itself: its bytes, place, scope, lifetime and the step that fills it."""

from __future__ import annotations

from collections import Counter

from memplan.ir.check.report import Findings, Rule
from memplan.ir.check.structure import Execution, Facts
from memplan.ir.device import Region
from memplan.ir.plan import Buffer, Scope
from memplan.ir.sizes import input_bytes, tensor_bytes, workspace_bytes

__all__ = ["check_buffers", "ram_regions"]


def check_buffers(facts: Facts, findings: Findings) -> None:
    """Check every buffer against the tensor, or the workspace, that it is for."""
    regions = ram_regions(facts)
    filled_by = {
        place: execution for execution in facts.executions for place in execution.step.writes
    }
    needed_by = _check_workspaces(facts, findings)
    for buffer in facts.plan.buffers:
        _check_place(facts, buffer, regions, findings)
        if buffer.tensor is None:
            _check_workspace(facts, buffer, needed_by.get(buffer.id), findings)
            continue
        size_bytes = _size_bytes(facts, buffer.tensor)
        if buffer.size_bytes != size_bytes:
            findings.add(
                Rule.SIZE,
                f"{buffer.tensor} takes {size_bytes} bytes, buffer {buffer.id} has "
                f"{buffer.size_bytes}",
                tensors=(buffer.tensor,),
                addresses=(_range(buffer),),
            )
        scope = _check_scope(facts, buffer, findings)
        _check_lifetime(facts, buffer, scope, filled_by.get(buffer.id), findings)
    _check_single(facts, findings)


def ram_regions(facts: Facts) -> dict[str, Region | None]:
    """Return the regions in which a buffer may lie; None stands for one without a known size."""
    device = facts.plan.request.device
    if device is None:
        return {"ram": None}
    return {region.name: region for region in device.regions if region.kind == "ram"}


def _range(buffer: Buffer) -> tuple[int, int]:
    return buffer.offset, buffer.offset + buffer.size_bytes


def _size_bytes(facts: Facts, name: str) -> int:
    tensor, plan = facts.graph.tensor[name], facts.plan
    if tensor.role in ("input", "label"):
        return input_bytes(tensor, plan.batch, plan.micro_batch, plan.request.stream_inputs)
    return tensor_bytes(tensor, plan.micro_batch, facts.mask)


def _check_place(
    facts: Facts, buffer: Buffer, regions: dict[str, Region | None], findings: Findings
) -> None:
    name, place = facts.name(buffer), (_range(buffer),)
    alignments = {facts.plan.request.alignment_bytes}
    if buffer.region not in regions:
        findings.add(
            Rule.REGION,
            f"{name} lies in {buffer.region!r}, which is no RAM region "
            f"(there {'is' if len(regions) == 1 else 'are'}: {', '.join(regions)})",
            tensors=(name,),
            addresses=place,
        )
    region = regions.get(buffer.region)
    if region is not None:
        alignments.add(region.alignment_bytes)
        available = region.size_bytes - region.reserved_bytes
        if buffer.offset + buffer.size_bytes > available:
            findings.add(
                Rule.REGION,
                f"{name} ends at {buffer.offset + buffer.size_bytes}, region {region.name} has "
                f"{available} bytes for the arena",
                tensors=(name,),
                addresses=place,
            )
    for alignment in sorted(alignments):
        if buffer.offset % alignment:
            findings.add(
                Rule.ALIGNMENT,
                f"{name} starts at {buffer.offset}, which is no multiple of {alignment}",
                tensors=(name,),
                addresses=place,
            )


def _check_scope(facts: Facts, buffer: Buffer, findings: Findings) -> Scope:
    """Return the scope that the buffer's tensor asks for."""
    assert buffer.tensor is not None
    role, plan = facts.graph.tensor[buffer.tensor].role, facts.plan
    scope: Scope = "body"
    if role in ("parameter", "state", "constant"):
        scope = "persistent"
        if buffer.tensor not in facts.mutators:
            findings.add(
                Rule.SCOPE,
                f"{buffer.tensor} is written by no step, so it lies outside the arena",
                tensors=(buffer.tensor,),
            )
    elif role == "accumulator" or (
        role in ("input", "label") and plan.trips > 1 and not plan.request.stream_inputs
    ):
        scope = "batch"
    if buffer.scope != scope:
        findings.add(
            Rule.SCOPE,
            f"{buffer.tensor} ({role}) has scope {scope} in this plan, buffer {buffer.id} says "
            f"{buffer.scope}",
            tensors=(buffer.tensor,),
        )
    return scope


def _check_lifetime(
    facts: Facts, buffer: Buffer, scope: Scope, writer: Execution | None, findings: Findings
) -> None:
    assert buffer.tensor is not None
    start, end = buffer.start_step, buffer.end_step
    body = facts.sections["body"]
    computation = 0
    fault = None
    if scope != "body":
        if (start, end) != (0, len(facts.plan.steps)):
            fault = f"{scope} buffers live through all {len(facts.plan.steps)} steps"
    elif start >= end:
        fault = "a lifetime holds at least one step"
    elif not any(s.start <= start and end <= s.stop for s in facts.sections.values()):
        fault = "it leaves its section"
    elif facts.graph.tensor[buffer.tensor].role in ("input", "label"):
        if start != body.start:
            fault = f"the host fills it before step {body.start}"
    elif writer is None:
        fault = "no step writes it"
    elif start != writer.ready:
        last = " last, when everything is read" if writer.ready > writer.index else ""
        fault = f"step {writer.index} writes it{last}"
    if fault is not None:
        findings.add(
            Rule.LIFETIME,
            f"{buffer.tensor} lives over [{start}, {end}), but {fault}",
            start,
            (buffer.tensor,),
            (_range(buffer),),
        )
    if writer is not None:
        computation = writer.step.computation
    if buffer.computation != computation:
        findings.add(
            Rule.COMPUTATION,
            f"buffer {buffer.id} claims computation {buffer.computation} of {buffer.tensor}, it "
            f"holds {computation}",
            start,
            (buffer.tensor,),
        )


def _check_single(facts: Facts, findings: Findings) -> None:
    """Tensors that come from outside, or that outlive a trip, have one place."""
    buffers = Counter(buffer.tensor for buffer in facts.plan.buffers if buffer.tensor is not None)
    for name, count in buffers.items():
        if count > 1 and facts.graph.tensor[name].role not in ("activation", "gradient"):
            findings.add(
                Rule.SCOPE, f"{name} has {count} buffers; it may have one", tensors=(name,)
            )


def _check_workspaces(facts: Facts, findings: Findings) -> dict[int, Execution]:
    """Return the step that each workspace buffer serves."""
    needed_by: dict[int, Execution] = {}
    for execution in facts.executions:
        size_bytes = workspace_bytes(
            execution.operation, execution.alternative, facts.plan.micro_batch, facts.mask
        )
        place = execution.step.workspace
        if (place is None) != (size_bytes <= 0):
            findings.add(
                Rule.WORKSPACE,
                f"{execution.operation.id} needs {size_bytes} bytes of workspace, the step names "
                f"{'none' if place is None else f'buffer {place}'}",
                execution.index,
            )
        if place is None:
            continue
        if place in needed_by:
            findings.add(
                Rule.WORKSPACE,
                f"buffer {place} is the workspace of steps {needed_by[place].index} and "
                f"{execution.index}",
                execution.index,
            )
        needed_by[place] = execution
    return needed_by


def _check_workspace(
    facts: Facts, buffer: Buffer, execution: Execution | None, findings: Findings
) -> None:
    place = (_range(buffer),)
    if execution is None:
        findings.add(Rule.WORKSPACE, f"no step uses workspace buffer {buffer.id}", addresses=place)
        return
    size_bytes = workspace_bytes(
        execution.operation, execution.alternative, facts.plan.micro_batch, facts.mask
    )
    if buffer.size_bytes != size_bytes:
        findings.add(
            Rule.WORKSPACE,
            f"{execution.operation.id} needs {size_bytes} bytes of workspace, buffer {buffer.id} "
            f"has {buffer.size_bytes}",
            execution.index,
            addresses=place,
        )
    if (buffer.start_step, buffer.end_step) != (execution.index, execution.index + 1):
        findings.add(
            Rule.WORKSPACE,
            f"workspace of {execution.operation.id} lives over [{buffer.start_step}, "
            f"{buffer.end_step}), not for its step alone",
            execution.index,
            addresses=place,
        )
    if buffer.scope != "body":
        findings.add(
            Rule.SCOPE, f"workspace has scope body, buffer {buffer.id} says {buffer.scope}"
        )
    if buffer.computation not in (0, execution.step.computation):
        findings.add(
            Rule.COMPUTATION,
            f"workspace buffer {buffer.id} claims computation {buffer.computation}",
            execution.index,
        )
