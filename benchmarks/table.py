"""Comparisons as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparison import Comparison, Figures, verdict

__all__ = ["comparison_table", "markdown_table", "summary"]

_HEADER = (
    "example",
    "budget",
    "sequential importance",
    "time",
    "arena",
    "joint importance",
    "time",
    "arena",
    "verdict",
    "solve s (seq. / joint)",
)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table; the first ``left`` columns to the left, the rest to the right."""
    widths = [
        max(3, *(len(row[column]) for row in (header, *rows))) for column in range(len(header))
    ]
    rule = [
        "-" * width if column < left else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    lines = []
    for row in (header, rule, *rows):
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return one line per example and budget."""
    return markdown_table(_HEADER, [_row(comparison) for comparison in comparisons])


def _row(comparison: Comparison) -> list[str]:
    sequential, joint = comparison.sequential, comparison.joint
    budget = f"{_kilobytes(comparison.budget_bytes)} ({comparison.factor:g}x)"
    return [
        comparison.example,
        budget,
        *_cells(sequential),
        *_cells(joint),
        _reason(comparison),
        f"{sequential.seconds:.0f} / {joint.seconds:.0f}",
    ]


def _cells(figures: Figures) -> list[str]:
    if not figures.fits:
        return ["does not fit", "-", "-"]
    return [
        f"{100 * figures.importance_ratio:.2f} %",
        f"{figures.time_ns / 1e6:,.2f} ms",
        _kilobytes(figures.arena_bytes),
    ]


def _kilobytes(size_bytes: int) -> str:
    """Return KB throughout, so that budget and arenas can be compared by eye."""
    return f"{size_bytes / 1024:,.1f} KB"


def _reason(comparison: Comparison) -> str:
    """Return the verdict with the difference that decides it."""
    sequential, joint = comparison.sequential, comparison.joint
    word = verdict(joint, sequential)
    if not (sequential.fits and joint.fits):
        return word if sequential.fits == joint.fits else f"{word} (fits)"
    if word == "tie":
        return word
    if abs(joint.importance - sequential.importance) > 0.01 * min(
        joint.importance, sequential.importance
    ):
        if not sequential.importance:
            return f"{word} (importance)"
        change = joint.importance / sequential.importance - 1
        return f"{word} (importance {100 * change:+.0f} %)"
    return f"{word} (time {100 * (joint.time_ns / sequential.time_ns - 1):+.0f} %)"


def summary(comparisons: Sequence[Comparison]) -> str:
    """Return one sentence: wins, ties and losses, per factor."""
    parts = []
    for factor in sorted({comparison.factor for comparison in comparisons}):
        words = [verdict(c.joint, c.sequential) for c in comparisons if c.factor == factor]
        parts.append(
            f"at {factor:g}x the joint choice wins {words.count('win')}, "
            f"ties {words.count('tie')} and loses {words.count('loss')} of {len(words)}"
        )
    return "; ".join(parts) + "." if parts else "Nothing was measured."
