"""What each layer of defence catches, mistake by mistake: the table of docs/microcontroller.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memplan.clients.executors.c.device import DeviceRun, build_program, run_program
from memplan.clients.executors.c.device_errors import DeviceError, DeviceFaultError
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.clients.executors.c.host import HostError, Variant
from memplan.clients.executors.c.values import input_parts
from memplan.ir.check import check
from tests.clients.executors.c.mutants import (
    MUTANTS,
    RAM_BYTES,
    STACK_BYTES,
    Subject,
    good_subject,
)

pytestmark = pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)

DOCUMENT = Path(__file__).parents[4] / "docs" / "microcontroller.md"
#: "-": does not get there, another layer has ended it; "?": what happens is not defined.
TABLE = """
| mistake | `plan verify` | `filled` | `unshared` | `asan` | linker | start | MPU | MPU, strict | trace | host's bits |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| none | no | no | no | no | no | no | no | no | no | no |
| two tensors, both needed, at the same bytes | yes | no | yes | no | no | no | no | no | no | no |
| a buffer that reaches out of the arena | yes | yes | ? | yes | no | yes | - | - | - | - |
| an arena larger than the budget | yes | no | no | no | yes | - | - | - | - | - |
| the same, where the linker script allows it | yes | no | no | no | no | no | yes | yes | yes | no |
| a step reads a dead tensor | no | yes | yes | yes | no | no | no | yes | no | no |
| a step reads a live tensor that is not its operand | no | no | no | yes | no | no | no | yes | no | no |
| a step writes into what it only reads | no | no | no | no | no | no | no | yes | no | no |
| a step writes beyond the budget | no | ? | ? | ? | no | no | yes | yes | yes | no |
| the stack overflows | no | no | no | no | no | no | yes | yes | yes | no |
| the board's compiler rounds differently | no | no | no | no | no | no | no | no | no | yes |
"""  # noqa: E501
HEADER, _, *ROWS = (
    [cell.strip() for cell in line.strip("| ").split("|")] for line in TABLE.strip().splitlines()
)


def _verify(subject: Subject) -> bool:
    return not check(subject.exported.graph, subject.plan).accepted


def _differs(variant: Variant) -> Callable[[Subject], bool]:
    def caught(subject: Subject) -> bool:
        planned = subject.exported.run([subject.samples])
        try:
            return subject.exported.run([subject.samples], variant).results != planned.results
        except HostError:
            return True

    return caught


def _linker(subject: Subject) -> bool:
    try:
        build_program(subject.folder, "mps2-an500", RAM_BYTES, stack_bytes=STACK_BYTES)
    except DeviceError as failure:
        return "more than the RAM of 10,240 B" in str(failure)
    return False


def _run(subject: Subject, board: str, *, strict: bool = False, traced: bool = False) -> DeviceRun:
    exported = subject.exported
    program = build_program(
        subject.folder, board, RAM_BYTES, stack_bytes=STACK_BYTES, strict=strict
    )
    parts = input_parts(
        exported.graph, exported.plan, exported.project.input_ids, dict(subject.samples)
    )
    return run_program(program, [parts], traced=traced, timeout_seconds=20)


def _start(subject: Subject) -> bool:
    try:
        _run(subject, "mps2-an500")
    except DeviceFaultError:
        return False
    except DeviceError as failure:
        return "lies outside the arena" in str(failure)
    return False


def _mpu(board: str, *, strict: bool) -> Callable[[Subject], bool]:
    def caught(subject: Subject) -> bool:
        try:
            _run(subject, board, strict=strict)
        except DeviceFaultError:
            return True
        return False

    return caught


@contextmanager
def _without_mpu(subject: Subject) -> Iterator[None]:
    """Nobody does the MPU's work, so that the layers behind it have their say."""
    source = subject.folder / "mpu.c"
    text = source.read_text()
    source.write_text(_NO_MPU)
    yield
    source.write_text(text)


def _trace(subject: Subject) -> bool:
    with _without_mpu(subject):
        trace = _run(subject, "mps2-an500", traced=True).trace
    assert trace is not None
    return trace.outside_accesses > 0


def _bits(subject: Subject) -> bool:
    host = subject.exported.run([subject.samples])
    with _without_mpu(subject):
        return _run(subject, "mps2-an500").results != host.results


#: In the order of the table; the last two without the MPU.
LAYERS: dict[str, Callable[[Subject], bool]] = {
    "`plan verify`": _verify,
    "`filled`": _differs("filled"),
    "`unshared`": _differs("unshared"),
    "`asan`": _differs("asan"),
    "linker": _linker,
    "start": _start,
    "MPU": _mpu("mps2-an500", strict=False),
    "MPU, strict": _mpu("mps3-an547", strict=True),
    "trace": _trace,
    "host's bits": _bits,
}

_NO_MPU = """#include "device.h"
uint32_t mpu_most_ranges, mpu_merges;
void mpu_bound_memory(void) {}
void mpu_open_step(const struct memplan_step *step) { (void)step; }
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The subject that all mutants are made of, built: they compile what they change."""
    subject = good_subject(tmp_path_factory.mktemp("good") / "project")
    assert not any(caught(subject) for caught in LAYERS.values())
    return subject


def test_the_table_is_the_one_of_the_page() -> None:
    assert TABLE in DOCUMENT.read_text()


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_mistake_is_caught_where_the_table_says_so(
    row: list[str], good: Subject, tmp_path: Path
) -> None:
    mistake, *cells = row
    make = MUTANTS[mistake]
    subject = good if make is None else make(good, tmp_path / "mutant")
    found = {
        layer: "yes" if LAYERS[layer](subject) else "no"
        for layer, said in zip(HEADER[1:], cells, strict=True)
        if said in ("yes", "no")
    }
    assert found == {
        layer: said for layer, said in zip(HEADER[1:], cells, strict=True) if layer in found
    }
    assert make is None or "yes" in cells
