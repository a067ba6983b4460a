"""The optimum of brute force as a plan, so that the checker can judge it."""

from __future__ import annotations

from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from tests.support.brute_force import Best
from tests.support.exact_packing import offsets, round_up
from tests.support.naive_plan import Layout

__all__ = ["exact_plan"]


def exact_plan(graph: OpGraph, request: PlanRequest, best: Best) -> Plan:
    """Return the plan that ``best`` describes, with addresses of least arena."""
    by_layer = {update.layer: update for update in best.mask}
    layout = Layout(graph, request, by_layer, best.micro_batch)
    layout.run(best.prologue, best.body, best.epilogue)
    leader = list(range(len(layout.buffers)))
    for step, operand, result in sorted(best.in_place):
        index = len(best.prologue) + step
        operation, way = layout.ways[index]
        names = [read.tensor for read in way.reads]
        read = layout.steps[index]["reads"][names.index(operand)]
        write = layout.steps[index]["writes"][operation.writes.index(result)]
        leader[write] = leader[read]
        layout.pairs.append((index, layout.buffers[read]["size_bytes"]))
    alignment = request.alignment_bytes
    groups: dict[int, list[int]] = {}
    always = []
    for place, buffer in enumerate(layout.buffers):
        if buffer["scope"] == "body":
            groups.setdefault(leader[place], []).append(place)
        else:
            always.append(buffer)
    rectangles = tuple(
        (
            min(layout.buffers[k]["start_step"] for k in group),
            max(layout.buffers[k]["end_step"] for k in group),
            layout.buffers[first]["size_bytes"],
        )
        for first, group in groups.items()
    )
    # What lives always stands below, but for the one that wastes most, if that helps on top.
    always.sort(key=lambda b: b["size_bytes"] - round_up(b["size_bytes"], alignment))
    found = offsets(rectangles, alignment)
    height = max((o + r[2] for o, r in zip(found, rectangles, strict=True)), default=0)
    on_top = None
    if always:
        padding = round_up(always[0]["size_bytes"], alignment) - always[0]["size_bytes"]
        if round_up(height, alignment) - padding < height:
            on_top = always.pop(0)
    base = 0
    for buffer in always:
        buffer["offset"] = base
        base += round_up(buffer["size_bytes"], alignment)
    for offset, group in zip(found, groups.values(), strict=True):
        for place in group:
            layout.buffers[place]["offset"] = base + offset
    if on_top is not None:
        on_top["offset"] = base + round_up(height, alignment)
    return layout.plan(best.mask)
