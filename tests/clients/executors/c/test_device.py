"""Programs on emulated boards: figures, results, and faults that must come."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

import memplan.clients.executors.c as package
from memplan.clients.executors.c.device import (
    BOARDS,
    DeviceProgram,
    build_program,
    encode_samples,
    run_program,
)
from memplan.clients.executors.c.device_errors import DeviceError, DeviceFaultError
from memplan.clients.executors.c.device_faults import explain_end
from memplan.clients.executors.c.device_tools import missing_packages
from memplan.clients.executors.c.elf import ElfImage
from tests.clients.executors.c.hand_project import expected_results, hand_batches, hand_project

needs_boards = pytest.mark.skipif(
    bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}"
)
RAM_BYTES = 4096
STACK_BYTES = 1024
PAIR = ("mps2-an500", "mps3-an547")


def program(folder: Path, board: str, *defines: str, strict: bool = False) -> DeviceProgram:
    return build_program(
        hand_project(folder, *defines), board, RAM_BYTES, stack_bytes=STACK_BYTES, strict=strict
    )


def test_boards_are_those_of_the_makefile() -> None:
    text = (Path(package.__file__).parent / "device" / "boards.mk").read_text()
    named = re.search(r"^BOARDS := (.*)$", text, re.MULTILINE)
    assert named is not None and named[1].split() == list(BOARDS)
    for board in BOARDS.values():
        assert f"MPU_{board.name} " in text
        kind = re.search(rf"^MPU_{board.name} +:= (\w+)$", text, re.MULTILINE)
        assert kind is not None and board.strict == (kind[1] == "pmsav8")


def test_samples_stand_in_the_order_of_need() -> None:
    batch = [[b"a" * 4, b"b" * 4], [b"c" * 8]]
    assert encode_samples([batch, batch]) == (
        struct.pack("<4I", 2, 2, 8, 8) + 2 * (b"a" * 4 + b"c" * 8 + b"b" * 4)
    )


@needs_boards
@pytest.mark.parametrize(
    ("board", "strict"), [(PAIR[0], False), (PAIR[1], False), (PAIR[1], True), ("mps2-an505", True)]
)
def test_a_good_program_trains(tmp_path: Path, board: str, strict: bool) -> None:
    built = program(tmp_path, board, strict=strict)
    assert built.arena_bytes == 2048
    assert built.stack_bytes == STACK_BYTES
    used = built.stack_bytes + built.arena_bytes + built.data_bytes + built.bss_bytes
    assert used <= built.ram_used_bytes <= RAM_BYTES
    assert 1000 < built.code_bytes <= built.flash_used_bytes < 10_000
    assert built.operations == (
        "sums.clear",
        *2 * ("linear.forward", "loss", "linear.backward"),
        "linear.update",
    )

    batches = hand_batches(3)
    run = run_program(built, batches)
    losses, w, b = expected_results(batches)
    for found, batch in zip(run.outputs, losses, strict=True):
        for trip, loss in zip(found, batch, strict=True):
            assert struct.unpack("<f", trip["loss"])[0] == pytest.approx(loss, rel=1e-5)
    assert struct.unpack("<f", run.parameters["w"])[0] == pytest.approx(w, rel=1e-5)
    assert struct.unpack("<f", run.parameters["b"])[0] == pytest.approx(b, rel=1e-5)

    assert 64 < run.stack_high_water_bytes < STACK_BYTES
    trace = run.trace
    assert trace is not None
    ram = built.image.address("__ram_start")
    assert trace.lowest_address == ram
    assert ram + STACK_BYTES + built.arena_bytes <= trace.highest_address < ram + RAM_BYTES
    assert trace.outside_accesses == 0 and trace.first_outside_address is None
    assert len(trace.step_instructions) == len(built.operations)
    assert sum(trace.step_instructions) == trace.batch_instructions[0]
    # 24 multiply-adds at least, and what surrounds them.
    assert all(count > 24 for count in trace.step_instructions[1:-1])
    assert run.merges == 0
    assert run.most_ranges == (3 if strict else 0)


@needs_boards
def test_boards_agree_bit_by_bit_and_count_the_same_every_time(tmp_path: Path) -> None:
    batches = hand_batches(2)
    runs = [run_program(program(tmp_path / board, board), batches) for board in BOARDS]
    assert len({run.results for run in runs}) == 1
    again = run_program(runs[0].program, batches)
    assert again.trace == runs[0].trace
    assert again.trace is not None
    assert again.trace.batch_instructions[0] == again.trace.batch_instructions[1]
    assert run_program(runs[0].program, batches, traced=False).trace is None


@needs_boards
@pytest.mark.parametrize(("board", "strict"), [(PAIR[0], False), (PAIR[1], True)])
def test_rows_of_an_input_come_while_a_step_runs(tmp_path: Path, board: str, strict: bool) -> None:
    batches = hand_batches(3)
    resident = run_program(program(tmp_path / "resident", board, strict=strict), batches)
    streamed = program(tmp_path / "streamed", board, "STREAMED", strict=strict)
    run = run_program(streamed, [(t, x) for x, t in batches])
    assert run.results == resident.results
    assert streamed.operations[1] == "x.rows"
    with pytest.raises(DeviceError, match=r"x has parts of \[96\] bytes; multiples of 96 bytes"):
        run_program(streamed, [(t, x[:1]) for x, t in batches])


@needs_boards
@pytest.mark.parametrize(("board", "strict"), [(PAIR[0], False), (PAIR[1], True)])
def test_a_row_goes_where_the_step_writes_and_nowhere_else(
    tmp_path: Path, board: str, strict: bool
) -> None:
    mutant = program(tmp_path, board, "STREAMED", "MUTANT_STREAM", strict=strict)
    with pytest.raises(DeviceError, match=r"at bytes that the step does not write, in x\.rows"):
        run_program(mutant, [(t, x) for x, t in hand_batches(1)])


@needs_boards
@pytest.mark.parametrize("mutant", ["MUTANT_UNDECLARED", "MUTANT_READ_ONLY"])
def test_strict_mode_faults_at_what_a_step_does_not_declare(tmp_path: Path, mutant: str) -> None:
    built = program(tmp_path, "mps3-an547", mutant, strict=True)
    with pytest.raises(DeviceFaultError, match="MemManage in step 0 of the body") as caught:
        run_program(built, hand_batches(1))
    offset = {"MUTANT_UNDECLARED": 96 + 3 * 4, "MUTANT_READ_ONLY": 5 * 4}[mutant]
    assert caught.value.address == built.image.address("__arena_start") + offset
    assert caught.value.operation == "linear.forward"
    assert f"byte {offset} of the arena" in str(caught.value)
    assert caught.value.exit_code == 104
    # Without strict mode nothing notices: the whole budget is open.
    run_program(program(tmp_path, "mps3-an547", mutant), hand_batches(1))


@needs_boards
def test_more_operands_than_regions_are_merged_and_it_says_so(tmp_path: Path) -> None:
    batches = hand_batches(2)
    plain = run_program(program(tmp_path / "plain", "mps3-an547"), batches)
    many = run_program(
        program(tmp_path / "many", "mps3-an547", "MUTANT_MANY", strict=True), batches
    )
    # x, w and b stand in two ranges, y in one, eleven more: fourteen, and thirteen regions.
    assert many.most_ranges == 14
    assert many.merges == 2 * 2  # in two trips of two batches
    assert many.results == plain.results


@needs_boards
@pytest.mark.parametrize("board", PAIR)
def test_a_store_beyond_the_budget_faults(tmp_path: Path, board: str) -> None:
    # The first byte after the budget: the arena is behind the stack.
    beyond = RAM_BYTES - STACK_BYTES
    built = program(tmp_path, board, f"MUTANT_BEYOND {beyond}")
    with pytest.raises(
        DeviceFaultError, match="outside of the RAM budget of 4,096 bytes"
    ) as caught:
        run_program(built, hand_batches(1))
    assert caught.value.address == built.image.address("__ram_end")
    last = program(tmp_path, board, f"MUTANT_BEYOND {beyond - 4}")
    run = run_program(last, hand_batches(1))
    assert run.trace is not None
    assert run.trace.highest_address == last.image.address("__ram_end") - 1


@needs_boards
def test_the_trace_sees_what_a_missing_mpu_lets_pass(tmp_path: Path) -> None:
    project = hand_project(tmp_path, f"MUTANT_BEYOND {RAM_BYTES - STACK_BYTES}")
    (project / "mpu.c").write_text(_NO_MPU)
    built = build_program(project, "mps2-an500", RAM_BYTES, stack_bytes=STACK_BYTES)
    run = run_program(built, hand_batches(1))
    assert run.trace is not None
    assert run.trace.outside_accesses == 2  # one store in each trip
    assert run.trace.first_outside_address == built.image.address("__ram_end")


@needs_boards
@pytest.mark.parametrize("board", PAIR)
def test_a_stack_that_is_too_small_faults(tmp_path: Path, board: str) -> None:
    built = program(tmp_path, board, "MUTANT_STACK")
    with pytest.raises(DeviceFaultError, match="the stack of 1,024 bytes is too small") as caught:
        run_program(built, hand_batches(1))
    assert caught.value.operation == "linear.forward"


@needs_boards
@pytest.mark.parametrize("ram_bytes", [4000, 5024, 153_600])
def test_budgets_need_not_be_powers_of_two(tmp_path: Path, ram_bytes: int) -> None:
    project = hand_project(tmp_path, f"MUTANT_BEYOND {ram_bytes - STACK_BYTES}")
    built = build_program(project, "mps2-an500", ram_bytes, stack_bytes=STACK_BYTES)
    with pytest.raises(DeviceFaultError) as caught:
        run_program(built, hand_batches(1), traced=False)
    assert caught.value.address == built.image.address("__ram_start") + ram_bytes


@needs_boards
def test_what_does_not_fit_does_not_link(tmp_path: Path) -> None:
    project = hand_project(tmp_path)
    with pytest.raises(DeviceError, match=r"take [\d,]+ B more than the RAM of 2,048 B") as caught:
        build_program(project, "mps2-an500", 2048, stack_bytes=1280)
    assert "\n" not in str(caught.value)


@needs_boards
def test_weights_that_do_not_fit_do_not_link(tmp_path: Path) -> None:
    project = hand_project(tmp_path)
    (project / "weights.c").write_text(
        "extern const unsigned char big[];\nconst unsigned char big[1100000] = {1};\n"
    )
    plan = project / "plan.c"
    text = plan.read_text().replace("static void update(void) {", _BIG)
    plan.write_text(text)
    with pytest.raises(DeviceError, match=r"take [\d,]+ B more than the flash of 1,048,576 B"):
        build_program(project, "mps3-an547", RAM_BYTES, stack_bytes=STACK_BYTES)
    # Half of it is more than the ITCM of the board has beside the code, and fits.
    (project / "weights.c").write_text(
        "extern const unsigned char big[];\nconst unsigned char big[600000] = {1};\n"
    )
    built = build_program(project, "mps3-an547", RAM_BYTES, stack_bytes=STACK_BYTES)
    assert built.weight_bytes == 600_000
    run_program(built, hand_batches(1))


@needs_boards
def test_other_ends_are_explained(tmp_path: Path) -> None:
    built = program(tmp_path, "mps2-an500")
    lockup = explain_end("board", built.image, -6, "qemu: fatal: Lockup: can't take fault\n\nR00")
    assert "ended with -6: qemu: fatal: Lockup" in str(lockup) and "\n" not in str(lockup)
    assert "no message" in str(explain_end("board", built.image, 1, ""))
    fault = "memplan-fault kind=HardFault cfsr=0x00000000 hfsr=0x40000000 sp=0x20000000 step=none\n"
    assert "HardFault between steps: cause 0x00000000" in str(
        explain_end("board", built.image, 103, fault)
    )
    with pytest.raises(DeviceError, match="no symbol nothing"):
        built.image.address("nothing")


def test_only_programs_are_read(tmp_path: Path) -> None:
    other = tmp_path / "other.elf"
    other.write_bytes(b"no program at all")
    with pytest.raises(DeviceError, match="no 32-bit little-endian ELF file"):
        ElfImage(other)
    with pytest.raises(DeviceError, match="build the program first"):
        ElfImage(tmp_path / "missing.elf")


@needs_boards
def test_settings_that_make_no_sense_are_named(tmp_path: Path) -> None:
    project = hand_project(tmp_path)
    with pytest.raises(DeviceError, match="not known"):
        build_program(project, "mps2-an999", RAM_BYTES)
    with pytest.raises(DeviceError, match="too coarse for strict mode"):
        build_program(project, "mps2-an500", RAM_BYTES, strict=True)
    with pytest.raises(DeviceError, match="has 524288 bytes"):
        build_program(project, "mps3-an547", 1 << 20)
    built = build_program(project, "mps2-an500", 8001)
    with pytest.raises(DeviceError, match="multiple of 32"):
        run_program(built, hand_batches(1))


@needs_boards
def test_samples_of_another_size_are_refused(tmp_path: Path) -> None:
    built = program(tmp_path, "mps2-an500")
    ((x, t),) = hand_batches(1)
    with pytest.raises(DeviceError, match=r"t has parts of \[384\] bytes; 192 bytes are needed"):
        run_program(built, [[[x[0]], [t[0] + t[0]]]])
    with pytest.raises(DeviceError, match="1 inputs, and the program has 2: x, t"):
        run_program(built, [[t]])


@needs_boards
def test_a_loop_without_an_end_is_ended(tmp_path: Path) -> None:
    project = hand_project(tmp_path)
    plan = project / "plan.c"
    plan.write_text(plan.read_text().replace("static void update(void) {", _ENDLESS))
    built = build_program(project, "mps2-an500", RAM_BYTES, stack_bytes=STACK_BYTES)
    with pytest.raises(DeviceError, match="not done after 2 s"):
        run_program(built, hand_batches(1), timeout_seconds=2)


_ENDLESS = """static void update(void) {
    for (volatile int stop = 0; !stop;) {
    }
"""

_NO_MPU = """#include "device.h"
uint32_t mpu_most_ranges, mpu_merges;
void mpu_bound_memory(void) {}
void mpu_open_step(const struct memplan_step *step) { (void)step; }
"""

_BIG = """extern const unsigned char big[];
static void update(void) {
    (void)*(const volatile unsigned char *)&big[memplan_arena[W_OFFSET]];
"""
