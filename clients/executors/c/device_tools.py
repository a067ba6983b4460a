"""The programs that boards need: cross compiler, its C library, emulator; and how they are run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from memplan.clients.executors.c.device_errors import DeviceError, ToolsMissingError

__all__ = [
    "PACKAGES",
    "build_trace_plugin",
    "compiler_version",
    "emulator_version",
    "missing_packages",
    "require_tools",
    "run_quietly",
]

#: Debian packages by the program that shows that they are there.
PACKAGES = {
    "qemu-system-arm": "qemu-system-arm",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "make": "make",
    "cc": "gcc",
}
_LIBRARY_PACKAGE = "libnewlib-arm-none-eabi"
_PLUGIN_SOURCE = Path(__file__).parent / "emulator" / "ramtrace.c"


@cache
def missing_packages() -> tuple[str, ...]:
    """Return the Debian packages that have to be installed before a program can run on a board."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if PACKAGES["arm-none-eabi-gcc"] in missing or not _has_c_library():
        missing.append(_LIBRARY_PACKAGE)
    return tuple(missing)


def _has_c_library() -> bool:
    found = subprocess.run(
        ["arm-none-eabi-gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=True
    )
    # Where there is none, gcc gives the bare name back.
    return found.stdout.strip() != "libc.a"


def require_tools() -> None:
    """Raise ToolsMissingError with the packages to install, where something is missing."""
    if missing := missing_packages():
        raise ToolsMissingError(
            "boards need programs that are not installed; on Debian: apt-get install "
            f"--no-install-recommends {' '.join(missing)}"
        )


@cache
def emulator_version() -> tuple[int, int]:
    """Return major and minor version of QEMU."""
    said = run_quietly(["qemu-system-arm", "--version"], Path.cwd(), 20).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None:
        raise DeviceError("qemu-system-arm --version says no version; is it QEMU?")
    return int(found[1]), int(found[2])


@cache
def compiler_version() -> str:
    """Return the version of the cross compiler."""
    return run_quietly(["arm-none-eabi-gcc", "-dumpfullversion"], Path.cwd(), 20).stdout.strip()


def build_trace_plugin(folder: Path) -> Path:
    """Compile the plugin that counts instructions and records which memory is touched.

    Raises:
        DeviceError: this QEMU has another plugin interface, or the compiler fails.
    """
    if not (4, 2) <= emulator_version() <= (8, 1):
        major, minor = emulator_version()
        raise DeviceError(
            f"QEMU {major}.{minor} has another plugin interface; instructions are counted with "
            "QEMU 4.2 to 8.1 (Debian 12 has 7.2)"
        )
    plugin = folder / "ramtrace.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    built = run_quietly([*command, str(_PLUGIN_SOURCE), "-o", str(plugin)], folder, 60)
    if built.returncode:
        raise DeviceError(f"ramtrace.c does not compile: {built.stderr.strip().splitlines()[0]}")
    return plugin


def run_quietly(
    command: Sequence[str], folder: Path, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a program without input, and return what it says.

    Raises:
        DeviceError: it is not done in time.
    """
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(
            f"{command[0]}: not done after {timeout_seconds:g} s, ended; "
            "allow more time, or look for a loop that has no end"
        ) from None
