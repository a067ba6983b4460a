"""The wheel and the sources that users install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest

from tests.test_architecture import ROOMS, ROOT

_LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", "__pycache__", "*.egg-info", "build", "dist", ".*_cache", "docs", "benchmarks"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist from a copy of the sources, offline."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("the build needs setuptools 77 or later")
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=_LEFT_OUT)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            folder / "dist",
            folder / "source",
        ],
        check=True,
        capture_output=True,
    )
    return folder / "dist"


def test_the_wheel_holds_memplan_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"memplan"}
    packaged = {name.removeprefix("memplan/") for name in names if name.startswith("memplan/")}
    sources = {
        str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")
    }
    assert sources <= packaged
    assert {"__init__.py", "py.typed"} <= packaged


def test_the_sources_are_enough_to_build_again(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", ".src/memplan/py.typed"} <= names
    assert any(name.endswith("memplan/ir/graph.py") for name in names)


def test_every_folder_with_modules_is_a_package() -> None:
    missing = {
        str(path.parent.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if not (path.parent / "__init__.py").is_file()
    }
    assert missing == set(), "a folder without __init__.py is left out of the wheel"


def test_extras_cover_each_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert all("<" in requirement for requirement in project["dependencies"])
    for requirements in extras.values():
        for requirement in requirements:
            assert requirement.startswith("memplan[") or "<" in requirement, requirement
    assert not any("torch" in requirement for requirement in extras["service"])
    assert not any("ortools" in requirement for requirement in extras["http"])


def test_the_lock_names_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    extras = project["optional-dependencies"].values()
    requirements = chain(project["dependencies"], *extras)
    names = {r.split("[")[0].split(">")[0].strip().lower().replace("_", "-") for r in requirements}
    assert names - {"memplan"} <= locked
