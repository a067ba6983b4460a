"""Where the bytes of a training step go: the sums behind the arenas of the three networks.

    python -m benchmarks.byte_arithmetic

For the published update of about 100 KB of each network: what stays from step to step, what the
forward pass saves for the backward pass, and the least peak of either pass, with the ways of
executing blocks that each column allows.  Nothing is computed twice here.  The section lands in
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.published_schemes import NETWORKS, SCHEMES, Scheme
from benchmarks.sections import write_section
from benchmarks.sparse_update import mask_of
from benchmarks.table import markdown_table
from benchmarks.tiny_training import trace_network
from memplan.ir.graph import Alternative, OpGraph
from memplan.ir.request import PlanRequest
from memplan.solver.build_instance import build_instance
from memplan.solver.schedule import Schedule, Table, live_profile
from memplan.solver.scheduling.orders import starting_orders

__all__ = ["COLUMNS", "Bytes", "Peaks", "bytes_of", "main", "peaks_of", "restricted"]

_NEAR_100_KB = ("99kb", "98kb")

_SECTION = """\
## Where the bytes of a training step go

| printed by | `{command}` |
| --- | --- |

The published updates of about 100 KB, int8, batch 1, 128x128, float32 classifier, in bytes.

{parts}

*Saved* are results of the forward pass that the backward pass reads, in the smallest forms that the
graph offers (input channels of updated weights, masks of one bit), at the end of the forward pass.

Least peak of live bytes of each pass, with all that stays, over the schedules that the search
starts from; no operation runs twice:

{peaks}

* *Plain*: one operation after the other. *Strips*: blocks forward in rows, backward in channels.
* *Used up*: chains in rows also put their results where their operands were, and depthwise
  convolutions work in place. *Streamed*: and the image is not resident.
* An arena holds the larger of its two passes. The search goes below these numbers by computing
  some results twice.
"""

Allowed = Callable[[Alternative], bool]


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is there beside the working set."""

    weights: int
    biases: int
    head: int
    saved_inputs: int
    saved_masks: int
    image: int


@dataclass(frozen=True, slots=True)
class Peaks:
    """Least peak of live bytes of either pass."""

    forward: int
    backward: int


def restricted(graph: OpGraph, allowed: Allowed) -> OpGraph:
    """Return the graph with the alternatives that are allowed; the plain ones always are.

    Fewer ways make no graph invalid, so it is not validated again.
    """
    operations = tuple(
        operation.model_copy(
            update={
                "alternatives": (
                    operation.alternatives[0],
                    *(way for way in operation.alternatives[1:] if allowed(way)),
                )
            }
        )
        for operation in graph.operations
    )
    fields = {name: getattr(graph, name) for name in OpGraph.model_fields}
    return OpGraph.model_construct(**{**fields, "operations": operations})


def bytes_of(graph: OpGraph, scheme: Scheme) -> Bytes:
    """Return the parts of one step at batch 1."""
    table, orders = _orders(graph, scheme)
    instance = table.instance
    head = graph.layers[-1]
    parts = dict.fromkeys(("weights", "biases", "head"), 0)
    for store in instance.stores:
        kind = (
            "head"
            if store.tensor in (head.weight, head.bias)
            else "biases"
            if any(layer.bias == store.tensor for layer in graph.layers)
            else "weights"
        )
        parts[kind] += store.size_bytes[0]
    schedule = min(orders, key=lambda order: _saved(table, order)[0])
    total, masks = _saved(table, schedule)
    image = next(tensor for tensor in graph.tensors if tensor.role == "input")
    return Bytes(
        **parts, saved_inputs=total - masks, saved_masks=masks, image=image.size_bytes.at(1)
    )


def peaks_of(graph: OpGraph, scheme: Scheme) -> Peaks:
    """Return the least peak of each pass, over the schedules that the search starts from."""
    table, orders = _orders(graph, scheme)
    works = table.instance.works
    forward, backward = [], []
    for order in orders:
        profile = live_profile(table, order)
        if profile is None:
            continue
        passes: tuple[list[int], list[int]] = ([], [])
        for (work, _), live in zip(order, profile, strict=True):
            passes[works[work].phase != "forward"].append(live)
        forward.append(max(passes[0]))
        backward.append(max(passes[1]))
    stores = table.instance.store_bytes
    return Peaks(min(forward) + stores, min(backward) + stores)


def _orders(graph: OpGraph, scheme: Scheme) -> tuple[Table, Sequence[Schedule]]:
    request = PlanRequest(budget_bytes=2**40, batch=1, update=mask_of(graph, scheme))
    table = Table.of(build_instance(graph, request, 1))
    orders = [order for order in starting_orders(table) if live_profile(table, order) is not None]
    return table, orders


def _saved(table: Table, schedule: Schedule) -> tuple[int, int]:
    """Return the bytes of forward results that are read later, and those of masks among them."""
    works, graph = table.instance.works, table.instance.graph
    forward: set[int] = set()
    saved: set[int] = set()
    for work, way in schedule:
        if works[work].phase == "forward":
            forward.update(table.writes[work])
        else:
            saved.update(item for item in table.reads[work][way] if item in forward)
    sizes = {item: table.instance.items[item].size_bytes[0] for item in saved}
    masks = {
        item for item in saved if graph.tensor[table.instance.items[item].tensor].dtype == "bit"
    }
    return sum(sizes.values()), sum(sizes[item] for item in masks)


def _is_strip(way: Alternative) -> bool:
    return way.target in ("memplan.row_strips", "memplan.channel_strips")


def _is_used_up(way: Alternative) -> bool:
    return way.uses_up is not None or way.name == "in_place"


#: Column -> (whether the image may be streamed, which alternatives there are).
COLUMNS: dict[str, tuple[bool, Allowed]] = {
    "plain": (False, lambda way: not _is_strip(way) and not _is_used_up(way)),
    "strips": (False, lambda way: not _is_used_up(way)),
    "used up": (False, lambda way: True),
    "streamed": (True, lambda way: True),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the section, print it."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="byte_arithmetic", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    parts, peaks = [], []
    for network in NETWORKS:
        scheme = next(s for s in SCHEMES if s.network == network and s.name in _NEAR_100_KB)
        graphs = {streamed: trace_network(network, streamed=streamed) for streamed in (False, True)}
        found = bytes_of(graphs[False], scheme)
        stays = found.weights + found.biases + found.head
        saved = found.saved_inputs + found.saved_masks
        numbers = (
            found.weights, found.biases, found.head, stays,
            found.saved_inputs, found.saved_masks, saved, found.image,
        )  # fmt: skip
        parts.append([network, scheme.name, *(f"{number:,}" for number in numbers)])
        cells = []
        for streamed, allowed in COLUMNS.values():
            least = peaks_of(restricted(graphs[streamed], allowed), scheme)
            cells.append(f"{least.forward:,} / {least.backward:,}")
        peaks.append([network, scheme.name, *cells])
    header = (
        "network", "scheme", "weights", "biases", "classifier", "stays",
        "saved inputs", "masks", "saved", "image",
    )  # fmt: skip
    columns = [f"{name}: forward / backward" for name in COLUMNS]
    text = _SECTION.format(
        command=shlex.join(["python", "-m", "benchmarks.byte_arithmetic", *given]),
        parts=markdown_table(header, parts, left=2),
        peaks=markdown_table(("network", "scheme", *columns), peaks, left=2),
    )
    write_section(options.output, "byte-arithmetic", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
