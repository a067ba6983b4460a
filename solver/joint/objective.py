"""What a plan is worth: importance, then time, then bytes; and the limit on extra MACs."""

from __future__ import annotations

from memplan.solver.instance import Way
from memplan.solver.joint.variables import Expression, JointModel, Literal

__all__ = ["add_objective"]


def add_objective(joint: JointModel) -> None:
    """Add the three levels as expressions, and the compute limit as a constraint."""
    instance = joint.instance
    joint.importance = sum(
        units * literal
        for choice, literals in zip(instance.choices, joint.option, strict=True)
        for units, literal in zip(choice.units, literals, strict=True)
        if units
    )
    time: Expression = sum(
        joint.of_option(choice, values, f"outside_time_{index}")
        for index, (choice, values) in enumerate(instance.outside_time_ns)
    )
    for v, c, w in joint.way:
        way = instance.works[v].ways[w]
        values = tuple(value or 0 for value in way.time_ns)
        time += instance.trips * _cost(joint, v, c, w, values, "time")
    joint.time_ns = time
    if instance.extra_macs_limit is not None:
        _add_compute_limit(joint)


def _cost(
    joint: JointModel, v: int, c: int, w: int, values: tuple[int, ...], name: str
) -> Expression:
    """Return (at least) the cost of a way, which depends on the option of the layer."""
    literal = joint.way[v, c, w]
    if len(set(values)) == 1:
        return values[0] * literal
    cost = joint.model.new_int_var(0, max(values), f"{name}_{v}_{c}_{w}")
    options = joint.option[joint.instance.works[v].choice]
    for value, option in zip(values, options, strict=True):
        if value:
            joint.model.add(cost >= value).only_enforce_if(literal, option)
    return cost


def _add_compute_limit(joint: JointModel) -> None:
    """MACs beyond those of the plain step under the chosen mask."""
    model, instance = joint.model, joint.instance
    plain: list[Literal] = []
    plain_way: dict[tuple[int, int], Literal] = {}
    total: Expression = 0
    # A work belongs to the plain step if it is demanded, or a plain way that does reads it.
    for v, work in enumerate(instance.works):
        plain.append(model.new_bool_var(f"plain_{v}"))
        for w, way in enumerate(work.ways):
            first = _first_allowed(joint, v, w)
            if first is None:
                continue
            literal = plain_way[v, w] = model.new_bool_var(f"plain_{v}_{w}")
            model.add_implication(literal, plain[v])
            for excluded in first:
                model.add_implication(literal, ~excluded)
            total += _plain_macs(joint, v, literal, way.macs)
    readers: dict[int, list[Literal]] = {}
    for (v, w), literal in plain_way.items():
        for t in instance.works[v].ways[w].reads:
            readers.setdefault(t, []).append(literal)
    for v, work in enumerate(instance.works):
        if any(instance.items[t].kept for t in work.writes):
            continue
        reasons = [literal for t in work.writes for literal in readers.get(t, ())]
        if any(work.demanded):
            if work.choice < 0 or len(work.demanded) == 1:
                continue
            reasons += [
                option
                for option, wanted in zip(joint.option[work.choice], work.demanded, strict=True)
                if wanted
            ]
        model.add_bool_or([*reasons, ~plain[v]])
    spent: Expression = 0
    for v, c, w in joint.way:
        spent += _cost(joint, v, c, w, instance.works[v].ways[w].macs, "macs")
    assert instance.extra_macs_limit is not None
    model.add(instance.trips * (spent - total) <= instance.extra_macs_limit)


def _first_allowed(joint: JointModel, v: int, w: int) -> list[Literal] | None:
    """Return the options under which way ``w`` is not the first allowed; None: it never is."""
    work = joint.instance.works[v]
    count = max(len(way.time_ns) for way in work.ways)
    excluded = [
        o
        for o in range(count)
        if not _is_allowed(work.ways[w], o) or any(_is_allowed(way, o) for way in work.ways[:w])
    ]
    if len(excluded) == count:
        return None
    if not excluded:
        return []
    return [joint.option[work.choice][o] for o in excluded]


def _is_allowed(way: Way, option: int) -> bool:
    return way.time_ns[option if len(way.time_ns) > 1 else 0] is not None


def _plain_macs(joint: JointModel, v: int, literal: Literal, values: tuple[int, ...]) -> Expression:
    """Return (at most) the MACs of the plain step's way."""
    if len(set(values)) == 1:
        return values[0] * literal
    cost = joint.model.new_int_var(0, max(values), f"plain_macs_{v}")
    joint.model.add(cost <= max(values) * literal)
    for value, option in zip(values, joint.option[joint.instance.works[v].choice], strict=True):
        joint.model.add(cost <= value).only_enforce_if(option)
    return cost
