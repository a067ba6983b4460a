"""Every kernel on integers against the torch executor's, under both sanitizers."""

from __future__ import annotations

import shutil

import pytest

from tests.clients.executors.c.int8_cases import int8_cases
from tests.clients.executors.c.kernel_checks import equals_torch
from tests.clients.executors.c.kernel_program import Program, build_program

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

CASES = int8_cases()
NAMES = list(CASES)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return build_program(tmp_path_factory.mktemp("int8"), list(CASES.values()))


@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_equals_the_torch_executors(name: str, program: Program) -> None:
    equals_torch(CASES[name], program, NAMES.index(name))
