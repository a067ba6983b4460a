"""Compiling ahead of time: a search that has a limit compiles nothing."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from numba.core.dispatcher import Dispatcher
from memplan.ir.packing import PackingBuffer
from memplan.ir.request import PlanRequest
from memplan.solver import prepare, solve
from memplan.solver.packing import answer
from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph, as_request


def compiled():
    return {
        f"{name}.{key}": len(value.signatures)
        for name, module in sorted(sys.modules.items())
        if name.startswith("memplan.solver.")
        for key, value in vars(module).items()
        if isinstance(value, Dispatcher)
    }


prepare()
before = compiled()
assert sum(before.values()) > 5, before
problem = layered(40, 2)
budget = int(0.5 * problem.plain_peak_bytes)
request = as_request(budget, 3.0, workers=1).model_copy(update={"deterministic": True})
assert solve(as_graph(problem), request).plan is not None
# No order of first fits packs these: they are searched.
tiles = [(0, 3, 1), (1, 5, 2), (2, 4, 1), (3, 8, 1), (4, 9, 2), (5, 7, 1), (6, 9, 1), (0, 2, 2)]
answer([PackingBuffer(str(i), *tile) for i, tile in enumerate(tiles)], None)
assert compiled() == before, set(compiled().items()) ^ set(before.items())
"""


def test_nothing_is_compiled_after_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
