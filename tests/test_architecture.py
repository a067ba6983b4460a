"""The rooms of the house, and who may look into which."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ir", "tracing", "solver", "planner_service", "clients")
EVERYWHERE = frozenset(
    {"ir", "tracing", "solver", "planner_service", "clients"}
    | {f"clients.{part}" for part in ("http", "executors", "report", "export", "ci", "cli")}
    | {"clients.pipeline", "clients.facade"}
)

#: What each room may import beside itself; rooms that are not named here may import ``ir`` only.
ARROWS: dict[str, frozenset[str]] = {
    "ir": frozenset(),
    "planner_service": frozenset({"ir", "tracing", "solver", "clients.report", "clients.export"}),
    "clients.cli": EVERYWHERE,
    # The facade, and the one path that it shares with the command line.
    "clients.facade": EVERYWHERE,
    "clients.pipeline": EVERYWHERE,
}
ONLY_IR = frozenset({"ir"})

#: Packages that a room may import; what is not listed here may be imported by any room.
LIMITED = {
    "torch": {"tracing", "clients.executors", "clients.pipeline", "clients.facade", "clients.cli"},
    "safetensors": {"tracing", "clients.executors"},
    "ortools": {"solver", "clients.pipeline"},
    "highspy": {"solver"},
    "scipy": {"solver"},
    "fastapi": {"planner_service"},
    "starlette": {"planner_service"},
    "uvicorn": {"clients.cli"},
    "typer": {"clients.cli"},
    "rich": {"clients.cli", "clients.report"},
    "httpx2": {"clients.http"},
    "transformers": set(),
}
#: ``ir`` is read by everything that reads plans: it stays small.
IR_PACKAGES = {"pydantic", "pydantic_core", "typing_extensions", "memplan"}


def room_of(path: Path) -> str:
    """Return the room of a source file: ``solver``, ``clients.cli``, ``clients.pipeline``..."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:2]) if parts[0] == "clients" and parts[1] != "__init__" else parts[0]


def room_of_module(module: str) -> str:
    """Return the room that an imported ``memplan...`` module is in."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["clients"] else parts[0] if parts else "facade"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            base = node.module or ""
            if base in ("memplan", "memplan.clients"):
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base


SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
ALL_PYTHON = SOURCES + sorted(
    path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


def test_rooms_look_only_where_they_may() -> None:
    faults = []
    for path in SOURCES:
        room = room_of(path)
        allowed = ARROWS.get(room, ONLY_IR) | {room}
        for line, module in imports(path):
            if module.split(".")[0] == "memplan" and room_of_module(module) not in allowed:
                faults.append(f"{path.relative_to(ROOT)}:{line}: {room} may not import {module}")
    assert faults == []


def test_packages_stay_in_their_rooms() -> None:
    faults = []
    for path in SOURCES:
        room = room_of(path)
        for line, module in imports(path):
            package = module.split(".")[0]
            if room not in LIMITED.get(package, {room}):
                faults.append(f"{path.relative_to(ROOT)}:{line}: {room} may not import {package}")
            if room == "ir" and package not in IR_PACKAGES | sys.stdlib_module_names:
                faults.append(f"{path.relative_to(ROOT)}:{line}: ir may not import {package}")
    assert faults == []


def test_rooms_are_never_imported_by_their_bare_names() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{line}: import memplan.{module}"
        for path in ALL_PYTHON
        for line, module in imports(path)
        if module.split(".")[0] in ROOMS
    ]
    assert faults == []


def test_the_linter_bans_the_same_names() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    banned = configuration["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(ROOMS)


def test_modules_say_what_they_are() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_every_room_is_linked_into_the_package() -> None:
    links = {link.name: link.resolve() for link in (ROOT / ".src" / "memplan").iterdir()}
    assert links.pop("py.typed").is_file()
    assert links.pop("__init__.py") == ROOT / "clients" / "facade.py"
    links.pop("__pycache__", None)
    assert links == {room: ROOT / room for room in ROOMS}
