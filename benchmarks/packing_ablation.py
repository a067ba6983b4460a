"""What packing loses without each technique of its depth-first search."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.packing_cases import Case
from benchmarks.table import markdown_table
from memplan.solver.packing import PackingTechniques, Problem, Rectangle, pack_within

__all__ = ["ablation"]

_ALONE = ("sort_orders", "order_search", "no_overlap")
_SWITCHES = (
    (),
    ("random_restarts",),
    ("conflict_weights",),
    ("decomposition",),
    ("hatless",),
    ("dominance",),
    ("raising",),
    ("release_offsets",),
    ("raising", "release_offsets"),
    ("section_inference",),
)


def ablation(cases: Sequence[Case], seconds: float, seeds: Sequence[int] = (0, 1, 2)) -> str:
    """Return a table: instances that are packed at their capacity, and CPU seconds for them.

    One worker; only the depth-first search; an unsolved run counts with ``seconds`` of the clock.
    """
    rows = []
    for names in _SWITCHES:
        techniques = PackingTechniques.without(*_ALONE, *names)
        solved, spent = 0, 0.0
        for case in cases:
            problem = Problem(
                tuple(Rectangle(b.lower, b.upper, b.size) for b in case.buffers),
                tuple(b.alignment for b in case.buffers),
            )
            for seed in seeds:
                assert case.capacity is not None
                began = time.process_time()
                proof = pack_within(
                    problem, case.capacity, seconds=seconds, seed=seed, techniques=techniques
                )
                solved += proof.packing is not None
                spent += time.process_time() - began
        rows.append(
            [
                " and ".join(name.replace("_", " ") for name in names) or "nothing",
                f"{solved} of {len(cases) * len(seeds)}",
                f"{spent:.1f}",
            ]
        )
    runs = (
        f"Depth-first search alone, one worker, seeds {', '.join(map(str, seeds))}, at most "
        f"{seconds:g} s by the clock for each of the instances that ask for a capacity."
    )
    return f"{runs}\n\n{markdown_table(['without', 'packed', 'CPU s together'], rows)}"
