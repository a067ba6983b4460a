"""Training steps on emulated Cortex-M boards, in a given number of bytes of RAM.

    python -m benchmarks.mcu [--cases resnet8] [--boards mps2-an500] [--batches 2] [--profile]

Each case is planned so that arena, stack, .data and .bss are within its budget of RAM, exported
as C, and built for the host and for each board.  A row fails, and so does the command, where there
is no plan, where a program does not fit, faults, touches memory outside its budget, does not give
the bits of the host's build, or is further from the PyTorch executor than rounding explains.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.mcu_case import CASES, Case
from benchmarks.mcu_prepare import Prepared, prepare
from benchmarks.mcu_profile import profile
from benchmarks.mcu_table import Row, row_of, section
from benchmarks.sections import write_section
from memplan.clients.executors.c.device import BOARDS
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.clients.executors.c.host import Variant
from memplan.ir.errors import MemplanError

__all__ = ["main"]

#: The boards of the table; where the MPU can, each step sees its own operands alone.
DEFAULT_BOARDS = ("mps2-an500", "mps3-an547")


@dataclass(frozen=True, slots=True)
class _Failure:
    """A row that has no figures."""

    row: str
    reason: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 0 where every row is as it has to be."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    if missing := missing_packages():
        print(
            "make mcu: the emulator or the cross compiler is not installed; on Debian: "
            f"apt-get install --no-install-recommends {' '.join(missing)}",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(1)
    cases = [case for case in CASES if not options.cases or case.name in options.cases]
    found = _measure_all(cases, options)
    rows = [row for row in found if isinstance(row, Row)]
    text = section(rows, shlex.join(["python", "-m", "benchmarks.mcu", *given]))
    print(text)
    told = [f"{each.row}: {each.reason}" for each in found if isinstance(each, _Failure)]
    told += [f"{row.case} on {row.board}: {reason}" for row in rows for reason in row.failures]
    if not found:
        told = ["nothing was asked for"]
    for line in told:
        print(f"FAILED {line}")
    if options.output is not None and not told:
        write_section(options.output, "mcu", text)
    return 1 if told else 0


def _measure_all(cases: Sequence[Case], options: argparse.Namespace) -> list[Row | _Failure]:
    """Run the boards of one case while the next one is planned."""
    variants: tuple[Variant, ...] = ("unshared",)
    if options.sanitize:
        variants += ("filled", "asan")
    rows: list[_Failure | Future[Row | _Failure]] = []
    with ThreadPoolExecutor(max_workers=len(options.boards)) as boards:
        for case in cases:
            try:
                prepared = prepare(case, options.folder, options.batches, _tell, variants)
            except MemplanError as failure:
                rows.append(_Failure(case.name, str(failure)))
                _tell(f"{case.name}: {failure}")
                continue
            rows += [
                boards.submit(_measure, prepared, board, options.profile)
                for board in options.boards
            ]
        return [row.result() if isinstance(row, Future) else row for row in rows]


def _measure(prepared: Prepared, board: str, profiled: bool) -> Row | _Failure:
    name = f"{prepared.case.name} on {board}"
    try:
        row = row_of(prepared, board)
    except MemplanError as failure:
        _tell(f"{name}: {failure}")
        return _Failure(name, str(failure))
    _tell(f"{name}, {BOARDS[board].core}: {'; '.join(row.failures) or 'ok'}")
    if profiled:
        print(f"{name}\n\n{profile(prepared.graph, prepared.plan, row.step_instructions)}\n")
    return row


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mcu", description=__doc__.split("\n")[0])
    names = [case.name for case in CASES]
    parser.add_argument("--cases", type=_Names(names), help="names, separated by commas")
    parser.add_argument("--boards", type=_Names(list(BOARDS)), default=DEFAULT_BOARDS)
    parser.add_argument("--batches", type=int, default=2, help="training steps on each board")
    parser.add_argument("--folder", type=Path, default=Path("build/mcu"))
    parser.add_argument("--output", type=Path, help="document whose section is written")
    parser.add_argument(
        "--sanitize", action="store_true", help="also run the host's builds filled and asan"
    )
    parser.add_argument(
        "--profile", action="store_true", help="also print where the instructions go"
    )
    return parser


class _Names:
    """Parses names, separated by commas."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in self.known]:
            raise argparse.ArgumentTypeError(
                f"{unknown[0]!r} is not known; take some of {', '.join(self.known)}"
            )
        return names


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
