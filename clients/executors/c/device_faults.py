"""From what a program said as it stopped to a sentence: which step, which address, why."""

from __future__ import annotations

import re

from memplan.clients.executors.c.device_errors import DeviceError, DeviceFaultError
from memplan.clients.executors.c.elf import ElfImage

__all__ = ["explain_end"]

_STACK_OVERFLOW = 1 << 20
_STACKING = 1 << 4 | 1 << 12


def explain_end(board: str, image: ElfImage, exit_code: int, said: str) -> DeviceError:
    """Return the error for a program that ended with another exit code than 0.

    Args:
        exit_code: of the emulator; negative: the signal that ended it.
        said: its standard error.
    """
    fault = re.search(r"^memplan-fault (.*)$", said, re.MULTILINE)
    if fault is not None:
        return _explain_fault(board, image, exit_code, dict(re.findall(r"(\w+)=(\S+)", fault[1])))
    if stopped := re.search(r"^memplan-stopped (.*)$", said, re.MULTILINE):
        return DeviceError(f"{board}: stopped: {stopped[1]}")
    lines = [line for line in said.splitlines() if line.strip()]
    # A lockup: a fault while a fault is handled, before there is a stack for instance.
    told = next((line for line in lines if "ockup" in line), lines[0] if lines else "")
    return DeviceError(
        f"{board}: the emulator ended with {exit_code}: {told or 'no message'}; "
        "is the RAM of the board as large as boards.mk says?"
    )


def _explain_fault(
    board: str, image: ElfImage, exit_code: int, said: dict[str, str]
) -> DeviceFaultError:
    cause = int(said["cfsr"], 16)
    address = int(said["address"], 16) if "address" in said else None
    operation = said.get("operation")
    where = "between steps"
    if operation is not None:
        section, _, number = said["step"].partition(":")
        where = f"in step {number} of the {section}, {operation}"
    if "pc" in said and (function := image.function_at(int(said["pc"], 16))):
        where += f", in {function}()"
    if cause & _STACK_OVERFLOW or cause & _STACKING or _is_below_stack(image, address):
        what = (
            f"the stack of {_size(image, 'stack', 'top', 'limit'):,} bytes is too small; "
            "give it more"
        )
    elif address is not None:
        what = f"access to {address:#010x}, {_place(image, address)}"
    else:
        what = f"cause {said['cfsr']} (CFSR), {said['hfsr']} (HFSR)"
    return DeviceFaultError(
        f"{board}: {said['kind']} {where}: {what}",
        kind=said["kind"],
        address=address,
        operation=operation,
        exit_code=exit_code,
    )


def _size(image: ElfImage, section: str, end: str = "end", start: str = "start") -> int:
    return image.address(f"__{section}_{end}") - image.address(f"__{section}_{start}")


def _is_below_stack(image: ElfImage, address: int | None) -> bool:
    limit = image.address("__stack_limit")
    return address is not None and limit - 65_536 <= address < limit


def _place(image: ElfImage, address: int) -> str:
    """Say what lies at an address."""
    arena = image.address("__arena_start")
    if arena <= address < image.address("__arena_end"):
        return f"byte {address - arena} of the arena, which the step does not declare in this way"
    if image.address("__ram_start") <= address < image.address("__ram_end"):
        return "in RAM, and not open to this step"
    if image.address("__flash_start") <= address < image.address("__flash_end"):
        return "in flash, which is read-only"
    return f"outside of the RAM budget of {_size(image, 'ram'):,} bytes"
