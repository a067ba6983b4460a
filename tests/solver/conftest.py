from __future__ import annotations

import pytest

from memplan.solver import prepare


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Compile before anything is given a limit of time."""
    prepare()
