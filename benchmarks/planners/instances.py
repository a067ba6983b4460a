"""The default instances: synthetic families with seeds, and training steps of the examples."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks.planners.networks import NETWORKS
from benchmarks.planners.problem import Problem, load_problem
from benchmarks.planners.torch_graphs import MODELS, traced

__all__ = ["chain", "default_instances", "from_folder", "layered"]

_CHAINS = ((20, 0), (40, 0), (80, 0))
_LAYERED = ((20, 1), (40, 2), (80, 3), (200, 4), (500, 5))


def default_instances(only: Collection[str] = ()) -> Iterator[Problem]:
    """Yield the synthetic problems, smallest first, and then those of torch models.

    Args:
        only: names of those that are wanted; empty: all but the large networks, which are known by
            name only.
    """
    synthetic = [chain(operations, seed) for operations, seed in _CHAINS]
    synthetic += [layered(operations, seed) for operations, seed in _LAYERED]
    yield from (problem for problem in synthetic if not only or problem.name in only)
    for name in MODELS:
        if name in only or (not only and name not in NETWORKS):
            yield traced(name).problem


def from_folder(folder: Path) -> Iterator[Problem]:
    """Yield the problems of a folder's JSON files, those with fewest operations first.

    Raises:
        ValueError: a file is no instance.
    """
    problems = [load_problem(path) for path in folder.glob("*.json")]
    yield from sorted(problems, key=lambda problem: (problem.count, problem.name))


def chain(operations: int, seed: int) -> Problem:
    """Return a chain and its backward, which reads a gradient, its activation and the one before.

    Args:
        operations: in all; half of them forward.
        seed: of sizes (1 to 20) and costs (1 to 30; a gradient has twice its layer's).
    """
    chance = random.Random(seed)
    forward = operations // 2
    inputs: list[tuple[int, ...]] = [() if o == 0 else (o - 1,) for o in range(forward)]
    return _mirrored(f"chain-{operations}-seed{seed}", chance, inputs, 20, 30, 1)


def layered(operations: int, seed: int) -> Problem:
    """Return a random layered graph with a mirrored backward.

    Operation o reads o - 1 or another of the last six, and with a chance of a third one more.
    Sizes are multiples of 16 up to 960, costs 1 to 60.
    """
    chance = random.Random(seed)
    forward = operations // 2
    inputs: list[tuple[int, ...]] = [()]
    for o in range(1, forward):
        reads = {o - 1 if chance.random() < 0.8 else chance.randrange(max(0, o - 6), o)}
        if chance.random() < 1 / 3:
            reads.add(chance.randrange(max(0, o - 6), o))
        inputs.append(tuple(sorted(reads)))
    return _mirrored(f"layered-{operations}-seed{seed}", chance, inputs, 60, 60, 16)


def _mirrored(
    name: str,
    chance: random.Random,
    inputs: list[tuple[int, ...]],
    most_size: int,
    most_cost: int,
    size_unit: int,
) -> Problem:
    """Return the graph with a backward: each gradient reads those of its readers.

    It also reads what its operation reads and writes, and has the bytes of the latter.
    """
    forward = len(inputs)
    sizes = [size_unit * chance.randint(1, most_size) for _ in range(forward)]
    costs = [chance.randint(1, most_cost) for _ in range(forward)]
    readers: list[list[int]] = [[] for _ in range(forward)]
    for o, reads in enumerate(inputs):
        for read in reads:
            readers[read].append(o)
    backward: list[tuple[int, ...]] = []
    for o in range(forward - 1, -1, -1):
        gradients = {2 * forward - 1 - reader for reader in readers[o]}
        backward.append(tuple(sorted({o, *inputs[o], *gradients})))
    return Problem(
        name,
        (*costs, *(2 * cost for cost in reversed(costs))),
        (*sizes, *reversed(sizes)),
        (True,) * forward + (False,) * forward,
        (*inputs, *backward),
    )
