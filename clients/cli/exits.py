"""Exit codes, and the one line that an error becomes."""

from __future__ import annotations

from enum import IntEnum

from memplan.ir.errors import MemplanError, MissingExtraError, RequestError

__all__ = ["ExitCode", "code_of", "error_line"]


class ExitCode(IntEnum):
    """What a script can act on."""

    #: The plan fits; the plan was accepted; the numbers agree.
    YES = 0
    #: Proved not to fit; the plan was rejected; the numbers differ.
    NO = 1
    USAGE = 2
    #: A model, graph, plan, weights or data file is bad.
    BAD_INPUT = 3
    #: The time ran out before a plan or a proof was found.
    UNDECIDED = 4
    #: A fault of memplan itself.
    INTERNAL = 70
    INTERRUPTED = 130


def code_of(error: MemplanError) -> ExitCode:
    """Return the exit code of an error."""
    usage = isinstance(error, RequestError | MissingExtraError)
    return ExitCode.USAGE if usage else ExitCode.BAD_INPUT


def error_line(message: str) -> str:
    """Return ``error: ...`` on one line that cannot steer the terminal."""
    text = " ".join(message.split())
    return "error: " + "".join(char if char.isprintable() else "?" for char in text)
