"""What can go wrong with a board, and the sentences that say it."""

from __future__ import annotations

from memplan.ir.errors import MemplanError

__all__ = ["DeviceError", "DeviceFaultError", "ToolsMissingError"]


class DeviceError(MemplanError, RuntimeError):
    """A program for a board cannot be built, or does not run to its end."""


class DeviceFaultError(DeviceError):
    """The processor stopped the program: it touched memory that it may not touch.

    Attributes:
        kind: name of the exception: MemManage, UsageFault...
        address: what was accessed, where the processor knows it.
        operation: of the step that ran; None: between steps.
        exit_code: of the program.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        address: int | None,
        operation: str | None,
        exit_code: int,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.address = address
        self.operation = operation
        self.exit_code = exit_code


class ToolsMissingError(DeviceError):
    """The cross compiler or the emulator is not installed."""
