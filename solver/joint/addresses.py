"""One address per instance: rectangles of lifetime x bytes do not overlap."""

from __future__ import annotations

from ortools.sat.python import cp_model

from memplan.solver.joint.variables import JointModel, Literal

__all__ = ["add_addresses"]


def add_addresses(joint: JointModel) -> None:
    """Add offsets (in alignment units, above the stores) and the two-dimensional no-overlap."""
    model, instance = joint.model, joint.instance
    most = joint.units(instance.capacity_bytes)
    times, bands = [], []
    for (t, d), interval in joint.lifetime.items():
        present = joint.present[t, d]
        offset = joint.offset[t, d] = model.new_int_var(0, most, f"offset_{t}_{d}")
        times.append(interval)
        bands.append(_band(joint, offset, joint.size[t], present, f"{t}_{d}"))
        item = instance.items[t]
        exact = joint.of_option(item.choice, item.size_bytes, f"bytes_{t}_{d}")
        _add_top(joint, offset, joint.size[t], exact, present)
    for (v, c, w), (interval, size) in joint.scratch.items():
        literal = joint.way[v, c, w]
        offset = joint.scratch_offset[v, c, w] = model.new_int_var(0, most, f"offset_{v}_{c}_{w}")
        times.append(interval)
        bands.append(_band(joint, offset, size, literal, f"{v}_{c}_{w}"))
        work = instance.works[v]
        exact = joint.of_option(
            work.choice, work.ways[w].workspace_bytes, f"scratch_bytes_{v}_{c}_{w}"
        )
        _add_top(joint, offset, size, exact, literal)
    model.add_no_overlap_2d(times, bands)
    for key, shares in joint.shares.items():
        model.add(
            joint.offset[key.read, key.copy] == joint.offset[key.written, key.computation]
        ).only_enforce_if(shares)


def _band(
    joint: JointModel, offset: Literal, size: Literal | int, present: Literal, name: str
) -> cp_model.IntervalVar:
    model = joint.model
    if isinstance(size, int):
        return model.new_optional_fixed_size_interval_var(offset, size, present, f"band_{name}")
    most = joint.units(joint.instance.capacity_bytes)
    end = model.new_int_var(0, most, f"band_end_{name}")
    return model.new_optional_interval_var(offset, size, end, present, f"band_{name}")


def _add_top(
    joint: JointModel, offset: Literal, size: Literal | int, exact: Literal | int, present: Literal
) -> None:
    """The arena reaches over this rectangle, and over the stores where they stand above."""
    model, alignment = joint.model, joint.instance.alignment_bytes
    above = joint.stores_above
    assert joint.arena is not None and joint.stores is not None and above is not None
    assert joint.spared is not None
    model.add(joint.arena >= alignment * (joint.stores + offset) + exact).only_enforce_if(
        present, ~above
    )
    model.add(
        joint.arena >= alignment * (joint.stores + offset + size) - joint.spared
    ).only_enforce_if(present, above)
