"""The step's own elementary functions against double precision, to the errors that they state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import memplan.clients.executors.c as package
from memplan.clients.executors.c.host import find_compiler

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

_MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "kernels/mathematics.h"
static float (*const functions[])(float) = {memplan_exp, memplan_log, memplan_tanh,
    memplan_sigmoid, memplan_erf, memplan_sqrt};
int main(int count, char **arguments) {
    float x;
    (void)count;
    while (fread(&x, sizeof x, 1, stdin) == 1) {
        x = functions[atoi(arguments[1])](x);
        fwrite(&x, sizeof x, 1, stdout);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mathematics")
    (folder / "main.c").write_text(_MAIN)
    sources = Path(package.__file__).parent
    command = [
        find_compiler(), "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off",
        "-fno-math-errno", "-fsanitize=undefined", "-fno-sanitize-recover=all", f"-I{sources}",
        "main.c", str(sources / "kernels" / "mathematics.c"), "-o", "main",
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True)
    return folder / "main"


def apply(program: Path, function: int, x: torch.Tensor) -> torch.Tensor:
    done = subprocess.run(
        [str(program), str(function)], input=x.numpy().tobytes(), capture_output=True, check=True
    )
    return torch.frombuffer(bytearray(done.stdout), dtype=torch.float32)


def units(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest error in units of the last place of the float nearest to the truth."""
    nearest = exact.float().abs()
    unit = torch.nextafter(nearest, torch.tensor(float("inf"))).double() - nearest.double()
    return float(((found.double() - exact).abs() / unit).max())


@pytest.mark.parametrize(
    ("function", "name", "low", "high", "most"),
    [
        (0, "exp", -103.0, 88.7, 2),
        (2, "tanh", -12.0, 12.0, 4),
        (3, "sigmoid", -80.0, 80.0, 4),
        (5, "sqrt", 0.0, 1e6, 0.5000001),
    ],
)
def test_errors_are_as_stated(
    function: int, name: str, low: float, high: float, most: float, program: Path
) -> None:
    x = torch.linspace(low, high, 200_001)
    assert units(apply(program, function, x), getattr(torch, name)(x.double())) <= most


def test_the_logarithm_over_all_sizes(program: Path) -> None:
    x = torch.cat([torch.logspace(-45, 38, 100_001).float(), torch.linspace(0.5, 2, 100_001)])
    x = x[x > 0]
    assert units(apply(program, 1, x), x.double().log()) <= 2


def test_erf_to_an_absolute_error(program: Path) -> None:
    x = torch.linspace(-6, 6, 200_001)
    assert float((apply(program, 4, x).double() - x.double().erf()).abs().max()) <= 5e-7


def test_what_is_not_finite(program: Path) -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([inf, -inf, nan, 1000.0, -1000.0, 0.0])
    expected: dict[int, list[float | None]] = {
        0: [inf, 0.0, nan, inf, 0.0, 1.0],
        1: [inf, nan, nan, None, nan, -inf],
        2: [1.0, -1.0, nan, 1.0, -1.0, 0.0],
        3: [1.0, 0.0, nan, 1.0, 0.0, 0.5],
    }
    for function, values in expected.items():
        for found, value in zip(apply(program, function, x).tolist(), values, strict=True):
            if value is not None:
                assert found == value or (found != found and value != value)
