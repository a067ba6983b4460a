"""Entry point: runs a command and turns every failure into one line and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["console", "main"]


def console() -> NoReturn:
    """Run ``plan`` as a process, which ends here."""
    _keep_stdout()
    # Graphs have hundreds of thousands of objects that stay: looking through them for garbage as
    # often as by default takes a sixth of the time of tracing, and more of choosing masks.
    gc.set_threshold(50_000, 50, 50)
    code = main()
    if _left_behind():
        # A solver thread may still be in native code; nothing of it may run at interpreter exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _keep_stdout() -> None:
    """Keep standard output for results: what solvers print by themselves goes to stderr."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return  # closed
    try:
        own = os.fdopen(os.dup(stream.fileno()), "wb")
        os.dup2(2, stream.fileno())
    except OSError:
        return  # without stderr there is nowhere else to print
    sys.stdout = io.TextIOWrapper(
        own, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``plan`` with ``arguments`` (default: the process's own) and return the exit code."""
    try:
        import typer
    except ImportError:
        print(
            "error: the command line is not installed; pip install 'memplan[cli]'", file=sys.stderr
        )
        return 2
    from memplan.clients.cli.app import app
    from memplan.clients.cli.exits import ExitCode, code_of, error_line
    from memplan.ir.errors import MemplanError

    for stream in (sys.stdout, sys.stderr):
        # A terminal without Unicode gets question marks, not an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    debugging = bool(os.environ.get("MEMPLAN_TRACEBACK"))
    try:
        command = typer.main.get_command(app)
        code = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="plan",
            standalone_mode=False,
        )
    except typer.TyperException as failure:
        _say(error_line(_usage(failure.format_message())))
        return ExitCode.USAGE
    except MemplanError as failure:
        if debugging:
            raise
        _say(error_line(str(failure)))
        return code_of(failure)
    except MemoryError:
        _say(error_line("out of memory; use a smaller model or batch, or a machine with more"))
        return ExitCode.BAD_INPUT
    except Exception as failure:
        if debugging:
            raise
        _say(
            error_line(
                f"internal: {type(failure).__name__}: {str(failure)[:200]}; this is a fault of "
                "memplan; MEMPLAN_TRACEBACK=1 shows where"
            )
        )
        return ExitCode.INTERNAL
    if code == ExitCode.INTERRUPTED:
        _say(error_line("interrupted; no file was left half-written"))
    return int(code or 0)


def _left_behind() -> bool:
    """Tell whether some native code was not waited for, as it cannot be stopped."""
    return any(
        thread.daemon and thread.name.startswith("memplan-") for thread in threading.enumerate()
    )


def _usage(message: str) -> str:
    # The prefix is that of the library which checks the words of an option.
    text = message.strip().rstrip(".").replace(": Value error, ", ": ")
    return text if ";" in text else f"{text}; plan --help shows how"


def _say(line: str) -> None:
    print(line, file=sys.stderr)
