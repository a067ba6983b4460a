"""Where and with what a table was measured."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

__all__ = ["commit", "describe_machine", "measured_by", "versions"]

_ROOT = Path(__file__).resolve().parents[1]


def measured_by(module: str, arguments: Sequence[str] | None) -> str:
    """Return the sentence that says by which command something was measured, when and where.

    Args:
        module: of ``benchmarks``.
        arguments: None: those of this process.
    """
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *(arguments or sys.argv[1:])])
    return (
        f"Measured by `{command}` on {datetime.now(UTC):%Y-%m-%d}, commit {commit()}, on "
        f"{describe_machine()}; {versions()}."
    )


def describe_machine() -> str:
    """Return cores, processor and operating system."""
    return f"{os.cpu_count()} cores of {_processor()}, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unknown processor"
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", "an unknown processor")
    if "cpu family" in facts and "model" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def versions() -> str:
    """Return the versions that matter for a solve."""
    packages = ("memplan", "ortools", "torch")
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)]
    )


def commit() -> str:
    """Return the short hash of the commit, with ``+`` where files differ from it."""
    try:
        hash_ = _git("rev-parse", "--short=10", "HEAD").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py").strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return hash_ + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout
