"""Bytes over time: at no step do live instances and workspace exceed the room.

Redundant beside the addresses, and all there is where addresses are left out.
"""

from __future__ import annotations

from collections import defaultdict

from memplan.solver.joint.variables import JointModel, Literal

__all__ = ["add_memory"]


def add_memory(joint: JointModel) -> None:
    """Add lifetimes, the arena's size, and the cumulative limit."""
    _add_lifetimes(joint)
    _add_scratch(joint)
    model, instance = joint.model, joint.instance
    request = instance.request
    joint.arena = model.new_int_var(0, instance.capacity_bytes, "arena_bytes")
    stores = [
        joint.of_option(
            store.choice,
            tuple(joint.units(size) for size in store.size_bytes),
            f"store_{index}",
        )
        for index, store in enumerate(instance.stores)
    ]
    most = joint.units(instance.capacity_bytes)
    stores_units = joint.stores = model.new_int_var(0, most, "stores")
    model.add(stores_units == sum(stores))
    alignment = instance.alignment_bytes
    _add_topmost_store(joint)
    # The topmost buffer may end unaligned.
    slack = alignment - 1
    for index, (choice, sizes) in enumerate(instance.outside_workspace_bytes):
        size = joint.of_option(choice, sizes, f"outside_{index}")
        if not isinstance(size, int) or size:
            # It may lie anywhere that the body's items lie: beside the stores.
            assert joint.stores_above is not None and joint.spared is not None
            model.add(joint.arena >= alignment * stores_units + size).only_enforce_if(
                ~joint.stores_above
            )
            padded = joint.of_option(
                choice, tuple(instance.aligned(s) for s in sizes), f"outside_padded_{index}"
            )
            model.add(
                joint.arena >= alignment * stores_units + padded - joint.spared
            ).only_enforce_if(joint.stores_above)
    room = joint.room = model.new_int_var(0, most, "room")
    model.add(alignment * (room + stores_units) <= joint.arena + slack)
    intervals = [*joint.lifetime.values(), *(i for i, _ in joint.scratch.values())]
    demands = [
        *(joint.size[t] for t, _ in joint.lifetime),
        *(size for _, size in joint.scratch.values()),
    ]
    model.add_cumulative(intervals, demands, room)
    if request.device is not None and request.device.weights == "ram":
        _add_frozen(joint)


def _add_topmost_store(joint: JointModel) -> None:
    """Either a body item is on top of everything, or a store is, whose padding is spared."""
    model, instance = joint.model, joint.instance
    padding = [
        tuple(instance.aligned(size) - size for size in store.size_bytes)
        for store in instance.stores
    ]
    most = max((max(values) for values in padding), default=0)
    spared = joint.spared = model.new_int_var(0, most, "spared")
    on_top = [model.new_bool_var(f"on_top_{index}") for index in range(len(padding))]
    above = joint.stores_above = model.new_bool_var("stores_above")
    model.add(sum(on_top) == above)
    for literal, store, values in zip(on_top, instance.stores, padding, strict=True):
        size = joint.of_option(store.choice, values, f"padding_{store.tensor}")
        model.add(spared <= size).only_enforce_if(literal)
    model.add(spared == 0).only_enforce_if(~above)
    assert joint.arena is not None and joint.stores is not None
    model.add(joint.arena >= instance.alignment_bytes * joint.stores - spared)


def _add_lifetimes(joint: JointModel) -> None:
    model, instance = joint.model, joint.instance
    gives: defaultdict[tuple[int, int], list[Literal]] = defaultdict(list)
    for key, shares in joint.shares.items():
        gives[key.read, key.copy].append(shares)
    for t, item in enumerate(instance.items):
        joint.size.append(
            joint.of_option(
                item.choice, tuple(joint.units(size) for size in item.size_bytes), f"size_{t}"
            )
        )
    for (t, d), end in joint.end.items():
        producer = instance.producer.get(t)
        start: Literal | int
        shortest = 1
        if producer is None:
            # Before the body, so that the first step may take its bytes.
            present, start = _given_and_read(joint, t), -1
        else:
            present, start = joint.runs[producer, d], joint.start[producer, d]
            late = joint.late(producer, d)
            if late:
                begin = model.new_int_var(0, joint.beyond, f"begin_{t}_{d}")
                model.add(begin == start + sum(late))
                start = begin
                shortest = 0  # where the first step of its life writes over it
        joint.present[t, d] = present
        until = end
        if gives[t, d]:
            until = model.new_int_var(0, joint.beyond, f"until_{t}_{d}")
            model.add(until == end - sum(gives[t, d]))
        length = model.new_int_var(shortest, joint.beyond + 1, f"length_{t}_{d}")
        joint.lifetime[t, d] = model.new_optional_interval_var(
            start, length, until, present, f"lifetime_{t}_{d}"
        )


def _given_and_read(joint: JointModel, t: int) -> Literal:
    reading = [
        literal
        for (v, _, w), literal in joint.way.items()
        if t in joint.instance.works[v].ways[w].reads
    ]
    present = joint.model.new_bool_var(f"given_{t}")
    for literal in reading:
        joint.model.add_implication(literal, present)
    joint.model.add_bool_or([*reading, ~present])
    return present


def _add_scratch(joint: JointModel) -> None:
    for (v, c, w), literal in joint.way.items():
        work = joint.instance.works[v]
        sizes = tuple(joint.units(size) for size in work.ways[w].workspace_bytes)
        if not any(sizes):
            continue
        size = joint.of_option(work.choice, sizes, f"scratch_{v}_{c}_{w}")
        step = joint.model.new_optional_fixed_size_interval_var(
            joint.start[v, c], 1, literal, f"scratch_step_{v}_{c}_{w}"
        )
        joint.scratch[v, c, w] = (step, size)


def _add_frozen(joint: JointModel) -> None:
    """Weights that stay frozen are in RAM too: they count against the budget."""
    instance = joint.instance
    graph = instance.graph
    mutated = {name for operation in graph.operations for name in operation.mutates}
    total = sum(
        tensor.size_bytes.at(instance.samples)
        for tensor in graph.tensors
        if tensor.role in ("parameter", "constant")
        or (tensor.role == "state" and tensor.id not in mutated)
    )
    updated = [
        joint.of_option(store.choice, store.size_bytes, f"updated_{store.tensor}")
        for store in instance.stores
        if graph.tensor[store.tensor].role == "parameter"
    ]
    assert joint.arena is not None
    joint.model.add(joint.arena + total - sum(updated) <= instance.request.budget_bytes)
