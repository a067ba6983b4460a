"""Which operations run, how often and by which way: an operation runs if it is needed."""

from __future__ import annotations

from memplan.solver.joint.variables import JointModel

__all__ = ["add_execution"]


def add_execution(joint: JointModel) -> None:
    """Add options, runs and ways; updates run exactly where the mask wants them."""
    model, instance = joint.model, joint.instance
    for index, choice in enumerate(instance.choices):
        literals = [model.new_bool_var(f"option_{index}_{o}") for o in range(len(choice.options))]
        model.add_exactly_one(literals)
        joint.option.append(literals)
    if instance.graph.mode == "train":
        model.add_bool_or(
            literal
            for literals, choice in zip(joint.option, instance.choices, strict=True)
            for literal, option in zip(literals, choice.options, strict=True)
            if option is not None
        )
    for v, work in enumerate(instance.works):
        for c in range(joint.computations[v]):
            runs = joint.runs[v, c] = model.new_bool_var(f"runs_{v}_{c}")
            ways = []
            for w, way in enumerate(work.ways):
                literal = joint.way[v, c, w] = model.new_bool_var(f"way_{v}_{c}_{w}")
                ways.append(literal)
                if work.choice >= 0 and len(way.time_ns) > 1:
                    for o, time in enumerate(way.time_ns):
                        if time is None:
                            model.add_implication(literal, ~joint.option[work.choice][o])
                elif way.time_ns[0] is None:
                    model.add(literal == 0)
                if way.covers:
                    model.add(literal == 0)  # blocks are left to the heuristics
            model.add(sum(ways) == runs)
            if c:
                model.add_implication(runs, joint.runs[v, c - 1])
        if work.demanded and (work.choice < 0 or len(work.demanded) == 1):
            if work.demanded[0]:
                model.add(joint.runs[v, 0] == 1)
            elif work.mutates:
                model.add(joint.runs[v, 0] == 0)
        elif work.mutates:
            for o, demanded in enumerate(work.demanded):
                model.add(joint.runs[v, 0] == int(demanded)).only_enforce_if(
                    joint.option[work.choice][o]
                )
