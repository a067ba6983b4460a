"""Whether any other planner does better than memplan, in a sentence for the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.planners.lines import Line, Smallest

__all__ = ["verdict"]

_OURS = "memplan"


def verdict(lines: Sequence[Line], smallest: Sequence[Smallest]) -> str:
    """Return how memplan stands beside the others; empty where it was not measured.

    Plans count whose live bytes fit, whatever arena they need.
    """
    planned = [line for line in lines if line.outcome == "plan"]
    ours = {_question(line): line for line in lines if line.planner == _OURS}
    if not ours:
        return ""
    others = [line for line in planned if line.planner != _OURS and _question(line) in ours]
    outcomes = [line.outcome for line in ours.values()]
    sentences = [
        f"memplan has a plan for {outcomes.count('plan')} of {len(ours)} questions and proves "
        f"{outcomes.count('infeasible')} to have none.",
        _better(others, ours, lambda line: line.cost, "a plan that takes less time"),
        _better(others, ours, lambda line: line.macs, "a plan of fewer MACs"),
    ]
    least = {each.instance: each for each in smallest if each.planner == _OURS}
    if least:
        smaller = {
            each.planner
            for each in smallest
            if each.instance in least and _is_smaller(each, least[each.instance])
        }
        sentences.append(f"{_names(smaller)} gets by with fewer bytes, live or in an arena.")
    return f"**{' '.join(sentences)}**"


def _better(
    others: Iterable[Line],
    ours: dict[tuple[str, float], Line],
    value: Callable[[Line], int | None],
    words: str,
) -> str:
    better = [line for line in others if _is_less(value(line), value(ours[_question(line)]))]
    where = len({_question(line) for line in better})
    found = _names({line.planner for line in better})
    return f"{found} has {words}{f' ({where} questions)' if where else ''}."


def _is_smaller(this: Smallest, other: Smallest) -> bool:
    return _is_less(this.peak_bytes, other.peak_bytes) or _is_less(
        this.arena_bytes, other.arena_bytes
    )


def _is_less(value: int | None, reference: int | None) -> bool:
    return value is not None and (reference is None or value < reference)


def _names(planners: set[str]) -> str:
    return ", ".join(sorted(planners)) if planners else "None of the others"


def _question(line: Line) -> tuple[str, float]:
    return line.instance, line.budget_fraction
