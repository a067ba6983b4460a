"""Rows of the table of boards: what was measured, and what of it is not as it has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.mcu_case import STACK_BYTES, Case, Prepared
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

__all__ = ["Row", "explain", "row_of", "table"]

#: A step of hundreds of millions of instructions takes the emulator some seconds.
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one board; sizes in bytes.

    Attributes:
        ram_bytes: the budget.
        ram_used_bytes: stack (all that is reserved), arena, .data and .bss, with alignment.
        parameter_bytes: of the arena: updated parameters and their state.
        weight_bytes: in flash: frozen weights, and first values of updated ones.
        step_instructions: of the first training step, by step of the plan, trip after trip.
        ram_start: address of the first byte of RAM.
        highest_address: last byte of RAM that was touched.
        agrees_with_host: all results are the same bits.
        torch_error: largest relative difference from the torch executor.
        failures: why the row fails; empty: it does not.
    """

    network: str
    board: str
    strict: bool
    ram_bytes: int
    ram_used_bytes: int
    arena_bytes: int
    parameter_bytes: int
    static_bytes: int
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
        prepared.project.folder, board, case.ram_bytes, stack_bytes=STACK_BYTES, strict=strict
    )
    run = run_program(program, prepared.batches, timeout_seconds=TIMEOUT_SECONDS)
    trace = run.trace
    if trace is None:
        raise DeviceError(f"{board}: the run was not traced")
    torch_error = max(prepared.loss_error, prepared.update_error)
    return Row(
        network=case.network,
        board=board,
        strict=strict,
        ram_bytes=program.ram_bytes,
        ram_used_bytes=program.ram_used_bytes,
        arena_bytes=program.arena_bytes,
        parameter_bytes=plan.totals.persistent_bytes,
        static_bytes=program.data_bytes + program.bss_bytes,
        stack_high_water_bytes=run.stack_high_water_bytes,
        code_bytes=program.code_bytes,
        weight_bytes=program.weight_bytes,
        step_instructions=trace.step_instructions,
        macs=plan.totals.macs,
        ram_start=program.image.address("__ram_start"),
        highest_address=trace.highest_address,
        merges=run.merges,
        agrees_with_host=run.results == prepared.host_results,
        torch_error=torch_error,
        failures=explain(case, run, trace, run.results == prepared.host_results, torch_error),
    )


def explain(
    case: Case, run: DeviceRun, trace: Trace, agrees_with_host: bool, torch_error: float
) -> tuple[str, ...]:
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
    if not agrees_with_host:
        reasons.append("its results are other bits than the host's")
    if not torch_error <= case.tolerance:
        reasons.append(
            f"it is {torch_error:.1e} away from the torch executor; {case.tolerance:.0e} is allowed"
        )
    return tuple(reasons)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    header = (
        *("network", "board", "RAM used", "of", "arena", "params in it", ".data+.bss"),
        *("stack peak", "code", "weights", "instructions", "per MAC", "highest"),
        *("= host", "torch error", "verdict"),
    )
    return markdown_table(header, [_cells(row) for row in rows], left=2)


def _cells(row: Row) -> list[str]:
    core = BOARDS[row.board].core.removeprefix("Cortex-")
    mode = " strict" if row.strict else ""
    if row.merges:
        mode += f", {row.merges:,} merged"
    return [
        row.network,
        f"{row.board} {core}{mode}",
        f"{row.ram_used_bytes:,}",
        f"{row.ram_bytes:,}",
        f"{row.arena_bytes:,}",
        f"{row.parameter_bytes:,}",
        f"{row.static_bytes:,}",
        f"{row.stack_high_water_bytes:,}",
        f"{row.code_bytes:,}",
        f"{row.weight_bytes:,}",
        f"{row.instructions:,}",
        f"{row.instructions / row.macs:.1f}" if row.macs else "-",
        f"{row.highest_address:#x}",
        "all bits" if row.agrees_with_host else "DIFFERS",
        f"{row.torch_error:.1e}",
        "FAILED" if row.failures else "ok",
    ]
