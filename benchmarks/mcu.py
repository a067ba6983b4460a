"""Training steps on emulated Cortex-M boards, in a given number of bytes of RAM.

    python -m benchmarks.mcu [--networks resnet8] [--boards mps2-an500] [--batches 2] [--profile]

Each network is planned so that arena, stack, .data and .bss are within its budget of RAM, exported
as C, and built for the host and for each board.  A row fails, and so does the command, where a
program does not fit, faults, touches memory outside its budget, does not give the bits of the
host's build, or is further from the PyTorch executor than rounding explains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mcu_case import CASES, Prepared, prepare
from benchmarks.mcu_profile import profile
from benchmarks.mcu_table import Row, row_of, table
from memplan.clients.executors.c.device import BOARDS
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.ir.errors import MemplanError

__all__ = ["main"]

#: The boards of the table; where the MPU can, each step sees its own operands alone.
DEFAULT_BOARDS = ("mps2-an500", "mps3-an547")


@dataclass(frozen=True, slots=True)
class _Failure:
    """A row that has no figures."""

    network: str
    reason: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 0 where every row is as it has to be."""
    options = _parser().parse_args(arguments)
    if missing := missing_packages():
        print(
            "make mcu: the emulator or the cross compiler is not installed; on Debian: "
            f"apt-get install --no-install-recommends {' '.join(missing)}",
            file=sys.stderr,
        )
        return 2
    rows: list[Row] = []
    failures: list[_Failure] = []
    for case in CASES:
        if options.networks and case.network not in options.networks:
            continue
        try:
            prepared = prepare(case, options.folder, options.batches, _tell)
        except MemplanError as failure:
            failures.append(_Failure(case.network, str(failure)))
            continue
        for board in options.boards:
            found = _measure(prepared, board)
            if isinstance(found, _Failure):
                failures.append(found)
                continue
            rows.append(found)
            if options.profile:
                steps = profile(prepared.graph, prepared.plan, found.step_instructions)
                print(f"{case.network} on {board}\n\n{steps}\n")
    print(table(rows))
    told = [f"{failure.network}: {failure.reason}" for failure in failures]
    told += [f"{row.network} on {row.board}: {reason}" for row in rows for reason in row.failures]
    for line in told:
        print(f"FAILED {line}")
    if not rows and not told:
        told = ["nothing was asked for"]
        print(f"FAILED {told[0]}")
    return 1 if told else 0


def _measure(prepared: Prepared, board: str) -> Row | _Failure:
    network = prepared.case.network
    _tell(f"{network}: {board}, {BOARDS[board].core}")
    try:
        return row_of(prepared, board)
    except MemplanError as failure:
        return _Failure(f"{network} on {board}", str(failure))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mcu", description=__doc__.split("\n")[0])
    names = [case.network for case in CASES]
    parser.add_argument("--networks", type=_Names(names), help="names, separated by commas")
    parser.add_argument("--boards", type=_Names(list(BOARDS)), default=DEFAULT_BOARDS)
    parser.add_argument("--batches", type=int, default=2, help="training steps on each board")
    parser.add_argument("--folder", type=Path, default=Path("build/mcu"))
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
