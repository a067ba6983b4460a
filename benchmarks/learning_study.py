"""The study: every method with every scaling, each at the learning rate that suits it best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.learning_data import order
from benchmarks.learning_network import Accuracy, Rates
from benchmarks.learning_runs import (
    BIASES,
    BIASES_AND_HEAD,
    FLOAT,
    FULL,
    HEAD,
    PLANNED,
    Learner,
    Method,
    Prepared,
)

__all__ = [
    "CASES",
    "GRIDS",
    "Cache",
    "Case",
    "Record",
    "Scaling",
    "best_rate",
    "measure",
    "mean_and_spread",
]

#: ``aware``: quantization-aware scaling.  ``plain``: without, one rate for all.  ``apart``:
#: without, and the float32 head has the rate that suits it, whatever that of the integers.
#: ``none``: there are no integers to update.
Scaling = Literal["aware", "plain", "apart", "none"]

#: Where there is a head with a rate of its own, it is this: the best of "head only".
HEAD_RATE = 0.01
#: Learning rates to choose from: as many for each scaling; wider apart where the right size is
#: less known.
GRIDS: dict[Scaling, tuple[float, ...]] = {
    "aware": (0.001, 0.003, 0.01, 0.03),
    "plain": (0.01, 0.1, 1.0, 10.0),
    "apart": (10.0, 100.0, 1000.0, 10000.0),
    "none": (0.001, 0.003, 0.01, 0.03),
}
#: Losses at the start and at the end are means of so many steps.
_WINDOW = 100


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table."""

    method: Method
    scaling: Scaling

    def rates(self, rate: float) -> Rates:
        """Return the rates of integers and head."""
        return Rates(rate, HEAD_RATE if self.scaling == "apart" else None)


CASES = (
    Case(HEAD, "none"),
    Case(BIASES, "aware"),
    Case(BIASES, "plain"),
    Case(BIASES_AND_HEAD, "aware"),
    Case(BIASES_AND_HEAD, "plain"),
    Case(PLANNED, "aware"),
    Case(PLANNED, "plain"),
    Case(PLANNED, "apart"),
    Case(FULL, "aware"),
    Case(FULL, "plain"),
    Case(FULL, "apart"),
    Case(FLOAT, "none"),
)


class Record(BaseModel):
    """One adaptation; a line of the cache.

    Attributes:
        digest: of the program.
        steps: images that it was trained on.
        first_loss: mean of the first steps, ``last_loss`` of the last ones.
        changed: part of the updated integers that are not what they were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    seed: int
    method: str
    scaling: Scaling
    rate: float
    digest: str
    steps: int
    validation: Accuracy
    test: Accuracy
    first_loss: float
    last_loss: float
    changed: float


class Cache:
    """Adaptations that are known, by program and length; an interrupted study goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[str, int], Record] = {}
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                record = Record.model_validate_json(line)
            except ValidationError:
                continue  # of another version, or cut off
            self._known[record.digest, record.steps] = record

    def find(self, digest: str, steps: int) -> Record | None:
        """Return what a program came to."""
        return self._known.get((digest, steps))

    def keep(self, record: Record) -> None:
        """Add a line."""
        self._known[record.digest, record.steps] = record
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(record.model_dump_json() + "\n")


def measure(
    learner: Learner, case: Case, rate: float, epochs: int, cache: Cache
) -> tuple[Record, Prepared]:
    """Adapt with one learning rate, from the pre-trained weights, image by image."""
    subject = learner.subject
    prepared = learner.prepared(case.rates(rate), aware=case.scaling == "aware")
    images = order(subject.split.adaptation, epochs, subject.seed)
    known = cache.find(prepared.digest, len(images))
    if known is not None:
        return known, prepared
    result = prepared.run(images)
    int8 = case.method.int8
    integers = [name for name, value in result.updated.items() if not value.is_floating_point()]
    moved = sum(int((result.updated[n] != prepared.weights[n]).sum()) for n in integers)
    record = Record(
        seed=subject.seed,
        method=case.method.name,
        scaling=case.scaling,
        rate=rate,
        digest=prepared.digest,
        steps=len(images),
        validation=subject.accuracy(result.updated, subject.split.validation, int8=int8),
        test=subject.accuracy(result.updated, subject.split.test, int8=int8),
        first_loss=statistics.fmean(result.losses[:_WINDOW]),
        last_loss=statistics.fmean(result.losses[-_WINDOW:]),
        changed=moved / max(1, sum(result.updated[name].numel() for name in integers)),
    )
    cache.keep(record)
    return record, prepared


def best_rate(records: Sequence[Record]) -> float:
    """Return the rate of the best validation accuracy; of equals the one of the lower loss."""

    def merit(record: Record) -> tuple[float, float]:
        loss = record.last_loss if math.isfinite(record.last_loss) else math.inf
        return -record.validation.all, loss

    return min(records, key=merit).rate


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half of the way from the smallest to the largest."""
    return statistics.fmean(values), (max(values) - min(values)) / 2
