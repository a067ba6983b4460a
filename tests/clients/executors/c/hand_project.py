"""A project for the plan by hand in ``data``, as the generator would lay it out."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

import memplan.clients.executors.c as package
from memplan.clients.executors.c.device import Batch

__all__ = ["expected_results", "hand_batches", "hand_project"]

SAMPLES = 24
TRIPS = 2
LEARNING_RATE = 0.1


def hand_project(folder: Path, *defines: str) -> Path:
    """Write the project; ``defines`` (``NAME`` or ``NAME VALUE``) choose a mutant."""
    sources = Path(package.__file__).parent
    data = Path(__file__).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for path in (
        *(sources / "runtime").glob("memplan.h"),
        *(sources / "runtime").glob("runtime.c"),
        *(path for path in (sources / "device").iterdir() if path.is_file()),
        *data.iterdir(),
    ):
        shutil.copy(path, folder / path.name)
    with (folder / "plan.h").open("a") as file:
        file.writelines(f"#define {define}\n" for define in defines)
    return folder


def hand_batches(count: int) -> list[Batch]:
    """Return seeded batches of the fixture: x in two parts, t whole."""
    generator = random.Random(1)
    batches: list[Batch] = []
    for _ in range(count):
        x = [generator.random() for _ in range(SAMPLES * TRIPS)]
        t = [2 * value + 1 for value in x]
        parts = [
            struct.pack(f"<{SAMPLES}f", *x[:SAMPLES]),
            struct.pack(f"<{SAMPLES}f", *x[SAMPLES:]),
        ]
        batches.append([parts, [struct.pack(f"<{SAMPLES * TRIPS}f", *t)]])
    return batches


def expected_results(batches: list[Batch]) -> tuple[list[list[float]], float, float]:
    """Return the losses of each batch and trip, and w and b after all of them, in doubles."""
    w, b = 0.5, -0.25
    losses: list[list[float]] = []
    for parts, (whole,) in batches:
        x = [struct.unpack(f"<{SAMPLES}f", part) for part in parts]
        t = struct.unpack(f"<{SAMPLES * TRIPS}f", whole)
        w_sum = b_sum = 0.0
        losses.append([])
        for trip in range(TRIPS):
            targets = t[trip * SAMPLES : (trip + 1) * SAMPLES]
            differences = [w * v + b - target for v, target in zip(x[trip], targets, strict=True)]
            losses[-1].append(sum(d * d for d in differences) / SAMPLES)
            gradients = [2 * d / (SAMPLES * TRIPS) for d in differences]
            w_sum += sum(g * v for g, v in zip(gradients, x[trip], strict=True))
            b_sum += sum(gradients)
        w -= LEARNING_RATE * w_sum
        b -= LEARNING_RATE * b_sum
    return losses, w, b
