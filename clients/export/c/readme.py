"""README.txt of a project."""

from __future__ import annotations

from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan

__all__ = ["readme"]


def readme(graph: OpGraph, plan: Plan, constant_bytes: int) -> str:
    """Return what a project is and how it is run."""
    kind = "a training step" if graph.mode == "train" else "an inference"
    trips = "" if plan.trips == 1 else f", in {plan.trips} trips of {plan.micro_batch}"
    name = "".join(char if " " <= char <= "~" else "?" for char in graph.name)
    return f"""\
{name}: {kind} of a batch of {plan.batch}{trips}

arena            {plan.totals.arena_bytes:>11,} bytes (memplan_arena: all that the steps write)
constants        {constant_bytes:>11,} bytes (frozen weights, and first values of updated ones)

plan.h           where every buffer lies, and the list of steps
plan.c           one function per step, and the tables that memplan.h describes
weights.*        constants
runtime.c        memplan_load, memplan_run
kernels/         the kernels that the plan uses
main_host.c      runs samples.bin on this machine, writes results.bin
guard_host.c     for make asan and make filled
main_device.c    the same on a board (device.mk)

make run         build for this machine and run samples.bin
make check       run it four ways, which must give the same bits: as planned; with dead bytes
                 overwritten; with every buffer at bytes of its own; under the address sanitizer,
                 where a step can reach its own operands only
make device BOARD=mps2-an500 RAM_BYTES=262144
                 build for an emulated Cortex-M7 (needs arm-none-eabi-gcc)

No step allocates, and none calls a library.  To use it in a program of your own: set memplan_arena
to MEMPLAN_ARENA_BYTES bytes aligned to 64, call memplan_load once, put samples where
memplan_inputs says, call memplan_run.
"""
