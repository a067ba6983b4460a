"""Rows of the table of boards: what was measured, and what of it is not as it has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.machine import commit
from benchmarks.mcu_case import Case, Image
from benchmarks.mcu_prepare import HostFacts, Prepared
from benchmarks.table import markdown_table
from memplan.clients.executors.c.device import (
    BOARDS,
    FLASH_BYTES,
    DeviceRun,
    Trace,
    build_program,
    run_program,
)
from memplan.clients.executors.c.device_errors import DeviceError
from memplan.clients.executors.c.device_tools import compiler_version, emulator_version

__all__ = ["Row", "explain", "row_of", "section"]

#: A step of hundreds of millions of instructions takes the emulator some seconds.
TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Row:
    """One case on one board; sizes in bytes.

    Attributes:
        case: its name.
        ram_bytes: the budget.
        ram_used_bytes: stack (all that is reserved), arena, .data and .bss, with alignment.
        parameter_bytes: of the arena: updated parameters and their state.
        static_bytes: .data and .bss.
        stack_bytes: what of the RAM is reserved for the stack.
        weight_bytes: in flash: frozen weights, and first values of updated ones.
        step_instructions: of the first training step, by step of the plan, trip after trip.
        ram_start: address of the first byte of RAM.
        highest_address: last byte of RAM that was touched.
        agrees_with_host: all results are the same bits.
        torch_error: largest relative difference from the torch executor.
        failures: why the row fails; empty: it does not.
    """

    case: str
    image: Image
    board: str
    strict: bool
    ram_bytes: int
    ram_used_bytes: int
    arena_bytes: int
    parameter_bytes: int
    static_bytes: int
    stack_bytes: int
    stack_high_water_bytes: int
    code_bytes: int
    weight_bytes: int
    step_instructions: tuple[int, ...]
    macs: int
    ram_start: int
    highest_address: int
    merges: int
    agrees_with_host: bool
    torch_error: float
    failures: tuple[str, ...]

    @property
    def instructions(self) -> int:
        """Of the first training step."""
        return sum(self.step_instructions)


def row_of(prepared: Prepared, board: str) -> Row:
    """Build and run on one board; strict where its MPU can.

    Raises:
        DeviceError: the program does not fit, or does not come to its end.
    """
    case, plan = prepared.case, prepared.plan
    strict = BOARDS[board].strict
    program = build_program(
        prepared.project.folder, board, case.ram_bytes, stack_bytes=case.stack_bytes, strict=strict
    )
    run = run_program(program, prepared.batches, timeout_seconds=TIMEOUT_SECONDS)
    trace = run.trace
    if trace is None:
        raise DeviceError(f"{board}: the run was not traced")
    return Row(
        case=case.name,
        image=case.image,
        board=board,
        strict=strict,
        ram_bytes=program.ram_bytes,
        ram_used_bytes=program.ram_used_bytes,
        arena_bytes=program.arena_bytes,
        parameter_bytes=plan.totals.persistent_bytes,
        static_bytes=program.data_bytes + program.bss_bytes,
        stack_bytes=program.stack_bytes,
        stack_high_water_bytes=run.stack_high_water_bytes,
        code_bytes=program.code_bytes,
        weight_bytes=program.weight_bytes,
        step_instructions=trace.step_instructions,
        macs=plan.totals.macs,
        ram_start=program.image.address("__ram_start"),
        highest_address=trace.highest_address,
        merges=run.merges,
        agrees_with_host=run.results == prepared.host.results,
        torch_error=prepared.host.torch_error,
        failures=explain(case, run, trace, prepared.host),
    )


def explain(case: Case, run: DeviceRun, trace: Trace, host: HostFacts) -> tuple[str, ...]:
    """Return what is not as it has to be."""
    program = run.program
    end = program.image.address("__ram_start") + case.ram_bytes
    reasons = []
    if program.ram_bytes != case.ram_bytes or program.ram_used_bytes > case.ram_bytes:
        reasons.append(f"it takes {program.ram_used_bytes:,} B of {case.ram_bytes:,} B of RAM")
    if program.flash_used_bytes > FLASH_BYTES:
        reasons.append(f"it takes {program.flash_used_bytes:,} B of flash")
    if trace.highest_address >= end:
        reasons.append(f"it touched {trace.highest_address:#x}; RAM ends at {end:#x}")
    if trace.outside_accesses:
        reasons.append(
            f"{trace.outside_accesses:,} accesses outside of the budget, the first at "
            f"{trace.first_outside_address or 0:#x}"
        )
    if run.stack_high_water_bytes >= program.stack_bytes:
        reasons.append(f"it used all {program.stack_bytes:,} B of its stack")
    if run.results != host.results:
        reasons.append("its results are other bits than the host's")
    if host.torch_error > case.tolerance:
        reasons.append(
            f"it is {host.torch_error:.1e} away from the torch executor; "
            f"{case.tolerance:.0e} is allowed"
        )
    reasons += [f"the host's build gives other bits as {variant}" for variant in host.differing]
    if not host.changed:
        reasons.append("the step changes no parameter")
    return tuple(reasons)


_SECTION = """\
`{command}`, commit {commit}: QEMU {emulator}, GCC {compiler}, `-O2`.

What of the RAM is used, in bytes:

{memory}

What the program is, and whether it is right:

{program}
"""


def section(rows: Sequence[Row], command: str) -> str:
    """Return what the run found as Markdown."""
    major, minor = emulator_version()
    return _SECTION.format(
        command=command,
        commit=commit(),
        emulator=f"{major}.{minor}",
        compiler=compiler_version(),
        memory=_memory_table(rows),
        program=_program_table(rows),
    )


def _memory_table(rows: Sequence[Row]) -> str:
    header = (
        *("case", "core", "image", "RAM used", "of", "arena", "parameters in it"),
        *("stack, reserved", "used", ".data, .bss", "highest touched"),
    )
    return markdown_table(
        header,
        [
            [
                row.case.removesuffix(f"-{row.image}"),
                _core(row),
                row.image,
                f"{row.ram_used_bytes:,}",
                f"{row.ram_bytes:,}",
                f"{row.arena_bytes:,}",
                f"{row.parameter_bytes:,}",
                f"{row.stack_bytes:,}",
                f"{row.stack_high_water_bytes:,}",
                f"{row.static_bytes:,}",
                f"{row.highest_address:#x}",
            ]
            for row in rows
        ],
        left=3,
    )


def _program_table(rows: Sequence[Row]) -> str:
    header = (
        *("case", "core", "image", "code", "weights in flash", "instructions a step"),
        *("per MAC", "MPU merges", "= host", "from torch", "verdict"),
    )
    return markdown_table(
        header,
        [
            [
                row.case.removesuffix(f"-{row.image}"),
                _core(row),
                row.image,
                f"{row.code_bytes:,}",
                f"{row.weight_bytes:,}",
                f"{row.instructions:,}",
                f"{row.instructions / row.macs:.1f}" if row.macs else "-",
                f"{row.merges:,}" if row.strict else "-",
                "all bits" if row.agrees_with_host else "DIFFERS",
                f"{row.torch_error:.1e}",
                "FAILED" if row.failures else "ok",
            ]
            for row in rows
        ],
        left=3,
    )


def _core(row: Row) -> str:
    core = BOARDS[row.board].core.removeprefix("Cortex-")
    return f"{core} strict" if row.strict else core
