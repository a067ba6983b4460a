"""Programs for boards: a generated project is built for a budget of RAM, and runs under QEMU.

The budget is the linker's region RAM and the MPU's only writable memory: stack, arena, ``.data``
and ``.bss`` are in it.  Samples and results go through files (``device/main_device.c``).
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memplan.clients.executors.c.device_errors import DeviceError
from memplan.clients.executors.c.device_faults import explain_end
from memplan.clients.executors.c.device_tools import (
    build_trace_plugin,
    require_tools,
    run_quietly,
)
from memplan.clients.executors.c.elf import ElfImage

__all__ = [
    "BOARDS",
    "FLASH_BYTES",
    "Batch",
    "Board",
    "DeviceProgram",
    "DeviceRun",
    "Trace",
    "build_program",
    "encode_samples",
    "run_program",
]

#: Code, constants and weights.
FLASH_BYTES = 1 << 20

#: For each input of the program, in its order, the bytes of one batch: one part where the buffer
#: holds the whole batch, one part per trip where it is streamed.  Inputs that the program asks for
#: row by row are the last ones, one part per trip.
Batch = Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Board:
    """A machine of QEMU's; ``device/boards.mk`` has its memories and flags."""

    name: str
    core: str
    #: The MPU can open each step's operands alone.
    strict: bool


BOARDS: Mapping[str, Board] = {
    board.name: board
    for board in (
        Board("mps2-an386", "Cortex-M4", strict=False),
        Board("mps2-an500", "Cortex-M7", strict=False),
        Board("mps2-an505", "Cortex-M33", strict=True),
        Board("mps3-an547", "Cortex-M55", strict=True),
    )
}


@dataclass(frozen=True)
class DeviceProgram:
    """A linked program.  All sizes in bytes.

    Attributes:
        ram_bytes: the budget; stack, arena, data and bss are in it.
        stack_bytes: what the stack may take.
        code_bytes: code and constants in flash, without the weights.
        weight_bytes: weights in flash: frozen ones, and first values of updated ones.
    """

    board: Board
    elf: Path
    image: ElfImage
    strict: bool
    ram_bytes: int
    stack_bytes: int
    arena_bytes: int
    data_bytes: int
    bss_bytes: int
    code_bytes: int
    weight_bytes: int
    flash_used_bytes: int

    @property
    def ram_used_bytes(self) -> int:
        """Bytes from the start of RAM to the end of the last section in it."""
        return self.image.address("__bss_end") - self.image.address("__ram_start")

    @property
    def trips(self) -> int:
        """How often the body runs per batch."""
        return self.image.constant("memplan_trips")

    @property
    def operations(self) -> tuple[str, ...]:
        """Operation of each step in the order of one batch, all trips of the body included."""
        image = self.image
        body = image.operations("memplan_body") * self.trips
        return image.operations("memplan_prologue") + body + image.operations("memplan_epilogue")


@dataclass(frozen=True, slots=True)
class Trace:
    """What the emulator saw.  Counts are exact, and the same every time.

    Attributes:
        batch_instructions: instructions of the steps of each batch; programming the MPU, loading
            samples and writing results are not steps.
        step_instructions: of the first batch, of each step in ``DeviceProgram.operations``.
        instructions: from reset to the end.
        lowest_address, highest_address: first byte of RAM that was touched, and last one.
        touched_bytes: different bytes of RAM that were touched.
        outside_accesses: loads and stores beyond the budget, and stores to flash.
        first_outside_address: where the first of them was; None: there is none.
    """

    batch_instructions: tuple[int, ...]
    step_instructions: tuple[int, ...]
    instructions: int
    loads: int
    stores: int
    lowest_address: int
    highest_address: int
    touched_bytes: int
    outside_accesses: int
    first_outside_address: int | None


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """A run that came to its end.

    Attributes:
        stack_high_water_bytes: deepest the stack ever was.
        outputs: for each batch and in it for each trip the outputs' bytes by name.
        parameters: the updated parameters' bytes, and those of their state, after the last batch,
            as the arena holds them.
        trace: None where it was not asked for.
        most_ranges: strict mode: most ranges that one step was given.
        merges: strict mode: how often two ranges had to be opened with what is between them,
            because the MPU has too few regions.
    """

    program: DeviceProgram
    stack_high_water_bytes: int
    outputs: tuple[tuple[Mapping[str, bytes], ...], ...]
    parameters: Mapping[str, bytes]
    results: bytes = field(repr=False)
    trace: Trace | None
    most_ranges: int
    merges: int


def build_program(
    project: Path,
    board: str,
    ram_bytes: int,
    *,
    stack_bytes: int = 2048,
    strict: bool = False,
    timeout_seconds: float = 300.0,
) -> DeviceProgram:
    """Compile and link a generated project for a board.

    Args:
        project: folder of the project.
        board: one of ``BOARDS``.
        ram_bytes: all the RAM there is.
        stack_bytes: how much of it is the stack.
        strict: each step sees its own operands alone; needs operands at multiples of 32 bytes.

    Raises:
        DeviceError: the board is not known or cannot be strict, or the program does not compile, or
            does not fit.
        ToolsMissingError: the cross compiler is not installed.
    """
    if board not in BOARDS:
        raise DeviceError(f"board {board!r} is not known; take one of {', '.join(BOARDS)}")
    if strict and not BOARDS[board].strict:
        raise DeviceError(f"{board}: its MPU is too coarse for strict mode; leave strict out")
    require_tools()
    elf = Path("build") / f"{board}{'-strict' if strict else ''}.elf"
    command = [
        *("make", "--silent", "-f", "device.mk", f"BOARD={board}", f"RAM_BYTES={ram_bytes}"),
        *(f"STACK_BYTES={stack_bytes}", f"FLASH_BYTES={FLASH_BYTES}", f"ELF={elf}"),
        f"STRICT={int(strict)}",
    ]
    built = run_quietly(command, project, timeout_seconds)
    if built.returncode:
        raise DeviceError(_why_not_built(built.stderr, board, ram_bytes, stack_bytes))
    return _measure(project / elf, BOARDS[board], strict)


def run_program(
    program: DeviceProgram,
    batches: Sequence[Batch],
    *,
    traced: bool = True,
    timeout_seconds: float = 120.0,
) -> DeviceRun:
    """Run a program once under QEMU: one training step, or inference, per batch.

    Args:
        traced: count instructions and record accesses; takes about twice as long.
        timeout_seconds: after this the emulator is ended.

    Raises:
        DeviceFaultError: the processor stopped the program.
        DeviceError: it did not come to its end otherwise, the samples are of another size, or
            QEMU cannot trace.
    """
    require_tools()
    for batch in batches:
        _check_batch(program, batch)
    with tempfile.TemporaryDirectory(prefix="memplan-device-") as name:
        folder = Path(name)
        (folder / "samples.bin").write_bytes(encode_samples(batches))
        command = [
            *("qemu-system-arm", "-M", program.board.name, "-display", "none", "-monitor", "none"),
            *("-serial", "none", "-semihosting-config", "enable=on,target=native"),
            *("-kernel", str(program.elf.resolve())),
        ]
        if traced:
            command += ["-plugin", _plugin_argument(program, folder)]
        ended = run_quietly(command, folder, timeout_seconds)
        if ended.returncode:
            raise explain_end(program.board.name, program.image, ended.returncode, ended.stderr)
        reported = dict(re.findall(r"^memplan-report (\w+)=(\d+)$", ended.stderr, re.MULTILINE))
        if "stack_high_water_bytes" not in reported:
            raise DeviceError(
                f"{program.board.name}: the program said nothing at its end; "
                "is its main the one of memplan?"
            )
        results = (folder / "results.bin").read_bytes()
        trace = _read_trace(program, folder / "trace.txt", len(batches)) if traced else None
    outputs, parameters = _decode_results(program, results, len(batches))
    return DeviceRun(
        program=program,
        stack_high_water_bytes=int(reported["stack_high_water_bytes"]),
        outputs=outputs,
        parameters=parameters,
        results=results,
        trace=trace,
        most_ranges=int(reported["mpu_most_ranges"]),
        merges=int(reported["mpu_merges"]),
    )


def encode_samples(batches: Sequence[Batch]) -> bytes:
    """Return ``samples.bin``: a header, and the parts in the order in which they are needed."""
    first = batches[0] if batches else ()
    sizes = [sum(map(len, parts)) for parts in first]
    pieces = [struct.pack(f"<{2 + len(sizes)}I", len(batches), len(sizes), *sizes)]
    for batch in batches:
        for trip in range(max((len(parts) for parts in batch), default=0)):
            pieces += [parts[trip] for parts in batch if trip < len(parts)]
    return b"".join(pieces)


def _check_batch(program: DeviceProgram, batch: Batch) -> None:
    image = program.image
    inputs, streams = image.tensors("memplan_inputs", "memplan_input_count"), image.streams()
    names = [each.name for each in inputs] + [each.name for each in streams]
    if len(batch) != len(names):
        raise DeviceError(
            f"samples: {len(batch)} inputs, and the program has {len(names)}: {', '.join(names)}"
        )
    for each, parts in zip(inputs, batch, strict=False):
        sizes = [len(part) for part in parts]
        if len(sizes) not in (1, program.trips) or set(sizes) != {each.size_bytes}:
            raise DeviceError(
                f"samples: {each.name} has parts of {sizes} bytes; {each.size_bytes} bytes are "
                f"needed once, or {program.trips} times where it is streamed"
            )
    for stream, parts in zip(streams, batch[len(inputs) :], strict=True):
        sizes = [len(part) for part in parts]
        if len(set(sizes)) != 1 or len(sizes) != program.trips or sizes[0] % stream.sample_bytes:
            raise DeviceError(
                f"samples: {stream.name} has parts of {sizes} bytes; multiples of "
                f"{stream.sample_bytes} bytes are needed, the same in each of {program.trips} trips"
            )


def _measure(elf: Path, board: Board, strict: bool) -> DeviceProgram:
    image = ElfImage(elf)

    def size(section: str, end: str = "end", start: str = "start") -> int:
        return image.address(f"__{section}_{end}") - image.address(f"__{section}_{start}")

    return DeviceProgram(
        board=board,
        elf=elf,
        image=image,
        strict=strict,
        ram_bytes=size("ram"),
        stack_bytes=size("stack", "top", "limit"),
        arena_bytes=image.constant("memplan_arena_bytes"),
        data_bytes=size("data"),
        bss_bytes=size("bss"),
        code_bytes=size("text"),
        weight_bytes=size("weights"),
        flash_used_bytes=size("flash", "used_end"),
    )


def _why_not_built(said: str, board: str, ram_bytes: int, stack_bytes: int) -> str:
    """Return one sentence for what make, compiler or linker said."""
    over = {
        name: int(count)
        for name, count in re.findall(r"region `(\w+)' overflowed by (\d+) bytes", said)
    }
    if "RAM" in over:
        return (
            f"{board}: stack ({stack_bytes:,} B), arena, .data and .bss take {over['RAM']:,} B more"
            f" than the RAM of {ram_bytes:,} B; plan with a smaller budget, or give more RAM"
        )
    if "FLASH" in over:
        return (
            f"{board}: code and weights take {over['FLASH']:,} B more than the flash of "
            f"{FLASH_BYTES:,} B; take a smaller network, or int8 weights"
        )
    lines = [line for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|\*\*\*|undefined", line)] or lines
    return f"{board}: the project does not build: {telling[0] if telling else 'make says nothing'}"


def _plugin_argument(program: DeviceProgram, folder: Path) -> str:
    image = program.image
    symbols = {
        "begin": "memplan_mark_begin",
        "end": "memplan_mark_end",
        "pause": "memplan_mark_pause",
        "resume": "memplan_mark_resume",
        "ram": "__ram_start",
        "ram_end": "__ram_end",
        "flash": "__flash_start",
        "flash_end": "__flash_end",
    }
    values = ",".join(f"{key}={image.address(name):#x}" for key, name in symbols.items())
    return f"{build_trace_plugin(folder)},{values},out=trace.txt"


def _read_trace(program: DeviceProgram, path: Path, batches: int) -> Trace:
    entries = [line.partition("=") for line in path.read_text().splitlines()]
    intervals = [int(value) for key, _, value in entries if key == "interval"]
    figures = {key: int(value) for key, _, value in entries if key != "interval"}
    steps = len(program.operations)
    if len(intervals) != steps * batches:
        raise DeviceError(
            f"{program.board.name}: the trace has {len(intervals)} steps, not {steps * batches}; "
            "are plan.c and runtime.c of one project?"
        )
    return Trace(
        batch_instructions=tuple(
            sum(intervals[steps * batch : steps * (batch + 1)]) for batch in range(batches)
        ),
        step_instructions=tuple(intervals[:steps]),
        instructions=figures["instructions"],
        loads=figures["loads"],
        stores=figures["stores"],
        lowest_address=figures["lowest"],
        highest_address=figures["highest"] - 1,
        touched_bytes=figures["touched"],
        outside_accesses=figures["outside"],
        first_outside_address=figures["first_outside"] if figures["outside"] else None,
    )


def _decode_results(
    program: DeviceProgram, results: bytes, batches: int
) -> tuple[tuple[tuple[dict[str, bytes], ...], ...], dict[str, bytes]]:
    outputs = program.image.tensors("memplan_outputs", "memplan_output_count")
    parameters = program.image.tensors("memplan_parameters", "memplan_parameter_count")
    expected = batches * program.trips * sum(each.size_bytes for each in outputs)
    expected += sum(each.size_bytes for each in parameters)
    if len(results) != expected:
        raise DeviceError(
            f"{program.board.name}: {len(results)} bytes of results, not {expected}; build it again"
        )
    at = 0

    def take(size_bytes: int) -> bytes:
        nonlocal at
        at += size_bytes
        return results[at - size_bytes : at]

    taken = tuple(
        tuple({each.name: take(each.size_bytes) for each in outputs} for _ in range(program.trips))
        for _ in range(batches)
    )
    return taken, {each.name: take(each.size_bytes) for each in parameters}
