"""A small network learns new digits in int8, by plans that run as generated C on this machine.

    make learn
    python -m benchmarks.learning [--seeds 3] [--epochs 2] [--output docs/learning.md]

A network of inverted residual blocks is pre-trained in float32 on the digits 0 to 4, quantized,
and adapted to all ten, one image at a time.  Adaptations are kept in ``build/`` as they end, so
that an interrupted study goes on where it stopped.  The command fails where the C executor and
the torch executor disagree, or where something is claimed that was not measured.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.learning_curves import Curves, compare_curves, step_agreement
from benchmarks.learning_data import digits, order
from benchmarks.learning_network import Accuracy, Subject, subject
from benchmarks.learning_runs import BIASES_AND_HEAD, FULL, HEAD, PLANNED, Learner, plan_for
from benchmarks.learning_study import CASES, GRIDS, Cache, Case, Record, best_rate, measure
from benchmarks.learning_table import Row, claims, section
from benchmarks.sections import write_section
from memplan.ir.errors import MemplanError

__all__ = ["main"]

#: Losses of both executors are compared over so many steps of the first epoch ...
_CURVE_STEPS = 300
#: ... for these, and updates of one step at these places.
_COMPARED = (Case(HEAD, "none"), Case(BIASES_AND_HEAD, "aware"), Case(PLANNED, "aware"),
             Case(PLANNED, "plain"), Case(FULL, "aware"))  # fmt: skip
_CHECKED_STEPS = (0, 100, 299)
#: Means of both curves may differ by this, relative, once roundings have gone different ways.
_MEANS_APART = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not known yet, write the section, print it; 0 where all is as claimed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    torch.set_num_threads(1)
    study = _Study(options.seeds, options.epochs, options.seconds, options.folder)
    try:
        rows = study.rows()
        curves, faults = study.curves(rows)
    except MemplanError as failure:
        print(f"FAILED {failure}", file=sys.stderr)
        return 1
    made = claims(rows)
    faults += [f"claimed, and not measured: {claim.text}" for claim in made if not claim.holds]
    command = shlex.join(["python", "-m", "benchmarks.learning", *given])
    text = section(rows, study.before, curves, made, command, _CHECKED_STEPS)
    write_section(options.output, "learning", text)
    print(text)
    for fault in faults:
        print(f"FAILED {fault}", file=sys.stderr)
    return 1 if faults else 0


class _Study:
    def __init__(self, seeds: int, epochs: int, seconds: float, folder: Path) -> None:
        self._seeds = range(seeds)
        self._epochs = epochs
        self._seconds = seconds
        self._folder = folder
        self._cache = Cache(folder / "learning.jsonl")
        self._learners: dict[tuple[int, str], Learner] = {}
        self._subjects: dict[int, Subject] = {}
        self._tell = _Progress(sum(len(GRIDS[case.scaling]) + seeds - 1 for case in CASES))
        #: Accuracies before the adaptation, by seed.
        self.before: list[Accuracy] = []

    def rows(self) -> list[Row]:
        """Adapt by every case; learning rates are chosen with the first seed."""
        records: dict[Case, list[Record]] = {case: [] for case in CASES}
        grids: dict[Case, list[Record]] = {case: [] for case in CASES}
        data = digits()
        for seed in self._seeds:
            self._tell(f"seed {seed}: pre-training")
            self._subjects[seed] = subject(seed, data)
            known = self._subjects[seed]
            self.before.append(known.accuracy({}, known.split.test))
            for case in CASES:
                if seed == self._seeds[0]:
                    for rate in GRIDS[case.scaling]:
                        grids[case].append(self._measure(case, seed, rate))
                    rate = best_rate(grids[case])
                    records[case].append(next(r for r in grids[case] if r.rate == rate))
                else:
                    records[case].append(self._measure(case, seed, records[case][0].rate))
        return [self._row(case, records[case], grids[case]) for case in CASES]

    def curves(self, rows: Sequence[Row]) -> tuple[dict[Case, Curves], list[str]]:
        """Run both executors side by side; return what they did, and where they disagree."""
        seed = self._seeds[0]
        known = self._subjects[seed]
        images = order(known.split.adaptation, self._epochs, seed)[:_CURVE_STEPS]
        curves, faults = {}, []
        for row in rows:
            case, rate = row.case, row.records[0].rate
            if case not in _COMPARED:
                continue
            name = f"{case.method.name}, {case.scaling}"
            self._tell(f"{name}: both executors")
            prepared = self._learner(case, seed).prepared(
                case.rates(rate), aware=case.scaling == "aware"
            )
            found = curves[case] = compare_curves(prepared, images)
            if found.mean_difference > _MEANS_APART:
                faults.append(f"{name}: the mean losses of both executors are {found.means}")
            for step in _CHECKED_STEPS:
                verdict = step_agreement(prepared, images, step)
                if not verdict.ok:
                    faults.append(
                        f"{name}: step {step}: {verdict.worst} differs by {verdict.worst_error:.1e}"
                    )
        return curves, faults

    def _row(self, case: Case, records: Sequence[Record], grid: Sequence[Record]) -> Row:
        plans = [self._learner(case, seed).plan for seed in self._seeds]
        return Row(
            case=case,
            arenas=tuple(plan.totals.arena_bytes for plan in plans),
            parameters=tuple(plan.totals.persistent_bytes for plan in plans),
            bounds=tuple(plan.certificate.lower_bound_bytes for plan in plans),
            records=tuple(records),
            grid=tuple(grid),
        )

    def _learner(self, case: Case, seed: int) -> Learner:
        key = (seed, case.method.name)
        if key not in self._learners:
            self._tell(f"seed {seed}: plan: {case.method.name}")
            known = self._subjects[seed]
            folder = self._folder / f"learning-{seed}-{len(self._learners)}"
            plan = plan_for(known, case.method, self._seconds)
            self._learners[key] = Learner(known, case.method, plan, folder)
        return self._learners[key]

    def _measure(self, case: Case, seed: int, rate: float) -> Record:
        learner = self._learner(case, seed)
        self._tell.next(f"seed {seed}: {case.method.name}, {case.scaling}, rate {rate:g}")
        return measure(learner, case, rate, self._epochs, self._cache)[0]


class _Progress:
    """Lines on stderr: adaptations done of all, seconds, what begins."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = -1
        self._began = time.monotonic()

    def next(self, what: str) -> None:
        """Say that another adaptation begins."""
        self._done += 1
        self(what)

    def __call__(self, what: str) -> None:
        """Say what begins."""
        seconds = time.monotonic() - self._began
        done = max(0, self._done)
        print(f"[{done}/{self._total}, {seconds:.0f} s] {what}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learning", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=_at_least_one, default=3)
    parser.add_argument("--epochs", type=_at_least_one, default=2)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each plan's search, deterministic"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/learning"))
    parser.add_argument("--output", type=Path, default=Path("docs/learning.md"))
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
