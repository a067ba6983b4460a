"""Projects on this machine: built with its C compiler, run, read back."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from memplan.clients.executors.c.device import encode_samples
from memplan.clients.executors.c.values import input_parts, merge_parameter
from memplan.clients.executors.torch.geometry import tensor_view
from memplan.clients.executors.torch.outside import whole_weights
from memplan.ir.errors import MemplanError
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = [
    "HostError",
    "HostResult",
    "Variant",
    "build_host",
    "find_compiler",
    "run_host",
]

#: ``host``: as planned.  ``filled``: dead bytes are overwritten.  ``unshared``: every buffer has
#: bytes of its own.  ``asan``: under the address sanitizer a step reaches its own operands only.
Variant = Literal["host", "filled", "unshared", "asan"]


class HostError(MemplanError, RuntimeError):
    """A project does not build or run on this machine."""


@dataclass(frozen=True)
class HostResult:
    """What a project computed.

    Attributes:
        losses: of each batch, averaged over its trips; empty in infer mode.
        outputs: of the last batch, by tensor id; joined along the batch, the loss averaged.
        updated: updated parameters by id, whole.
        states: optimizer state and running statistics, as the arena holds them.
        results: the bytes of results.bin.
    """

    losses: tuple[float, ...]
    outputs: Mapping[str, torch.Tensor]
    updated: Mapping[str, torch.Tensor]
    states: Mapping[str, torch.Tensor]
    results: bytes


def find_compiler() -> str:
    """Return the C compiler: ``$CC``, else ``cc``.

    Raises:
        HostError: there is none.
    """
    wanted = os.environ.get("CC", "cc")
    found = shutil.which(wanted.split()[0])
    if found is None:
        raise HostError(
            f"there is no C compiler {wanted!r} on this machine; install one (Debian: gcc and "
            "make), or name it in CC"
        )
    return wanted


def build_host(project: Path, variant: Variant = "host", timeout_seconds: float = 900.0) -> Path:
    """Build a project for this machine and return the program.

    Raises:
        HostError: there is no compiler or no make, or the project does not compile.
    """
    compiler = find_compiler()
    if shutil.which("make") is None:
        raise HostError("there is no make on this machine; install it (Debian: make)")
    target = f"build/plan_{variant}"
    made = _run(["make", "-s", f"CC={compiler}", target], project, timeout_seconds)
    if made.returncode:
        problem = next(
            (line for line in made.stderr.splitlines() if "error" in line.lower()), made.stderr
        )
        raise HostError(f"{project}: make {target} fails: {problem.strip()[:300]}")
    return project / target


def run_host(
    program: Path,
    graph: OpGraph,
    plan: Plan,
    ids: tuple[Sequence[str], Sequence[str], Sequence[str]],
    weights: Mapping[str, torch.Tensor],
    batches: Sequence[Mapping[str, torch.Tensor]],
    timeout_seconds: float = 900.0,
) -> HostResult:
    """Run a program on batches of samples.

    Args:
        program: what ``build_host`` returned.
        graph: what the plan is for.
        plan: what the project was made of.
        ids: of a ``Project``: input_ids, parameter_ids, output_ids.
        weights: what the project was made with.
        batches: inputs and labels by tensor id; each for one step.

    Raises:
        HostError: the program stops before its end.
        DataError: an input is missing or has another shape.
    """
    input_ids, parameter_ids, output_ids = (tuple(names) for names in ids)
    samples = encode_samples([input_parts(graph, plan, input_ids, inputs) for inputs in batches])
    with tempfile.TemporaryDirectory(prefix="memplan-") as folder:
        given, made = Path(folder) / "samples.bin", Path(folder) / "results.bin"
        given.write_bytes(samples)
        done = _run([str(program.absolute()), str(given), str(made)], Path(folder), timeout_seconds)
        if done.returncode:
            raise HostError(_why(program, done))
        results = made.read_bytes()
    return _decode(graph, plan, parameter_ids, output_ids, weights, results, len(batches))


def _decode(
    graph: OpGraph,
    plan: Plan,
    parameter_ids: Sequence[str],
    output_ids: Sequence[str],
    weights: Mapping[str, torch.Tensor],
    results: bytes,
    batches: int,
) -> HostResult:
    place = 0

    def take(name: str) -> torch.Tensor:
        nonlocal place
        tensor = graph.tensor[name]
        update = plan.update_of.get(tensor.layer) if tensor.layer else None
        view = tensor_view(tensor, plan.micro_batch, update)
        size = next(b.size_bytes for b in plan.buffers if b.tensor == name)
        if place + size > len(results):
            raise HostError(f"results.bin ends in the middle of {name}")
        block = torch.frombuffer(bytearray(results[place : place + size]), dtype=torch.uint8)
        place += size
        return view.of(block).contiguous()

    losses, parts = [], {}
    for _ in range(batches):
        parts = {name: list[torch.Tensor]() for name in output_ids}
        for _ in range(plan.trips):
            for name in output_ids:
                parts[name].append(take(name))
        if graph.mode == "train":
            losses.append(math.fsum(map(float, parts[graph.outputs[0]])) / plan.trips)
    outputs = {name: _whole(graph, name, found) for name, found in parts.items()}
    before = whole_weights(graph, weights)
    updated, states = {}, {}
    for name in parameter_ids:
        tensor, value = graph.tensor[name], take(name)
        if tensor.role == "parameter":
            updated[name] = merge_parameter(tensor, plan, before[name], value)
        else:
            states[name] = value
    if place != len(results):
        raise HostError(f"results.bin has {len(results) - place} bytes too many")
    return HostResult(tuple(losses), outputs, updated, states, results)


def _whole(graph: OpGraph, name: str, parts: list[torch.Tensor]) -> torch.Tensor:
    dim = next((d for d, size in enumerate(graph.tensor[name].shape) if size.per_sample), None)
    if dim is not None:
        return torch.cat(parts, dim)
    return torch.stack(parts).mean(0) if parts[0].is_floating_point() else parts[-1]


def _why(program: Path, done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line that says something, with the place in the source."""
    lines = done.stderr.strip().splitlines()
    problem = next(
        (line for line in lines if re.search(r"ERROR|runtime error|plan_host:", line)),
        lines[0] if lines else "no message",
    )
    place = next((line for line in lines if re.match(r"\s*#0 ", line)), "")
    where = f" ({place.strip()})" if place else ""
    return f"{program.name} ends with code {done.returncode}: {problem.strip()[:200]}{where[:200]}"


def _run(
    command: list[str], folder: Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace",
            timeout=timeout_seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise HostError(
            f"{command[0]} in {folder} took more than {timeout_seconds:.0f} s and was ended"
        ) from None
