from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from memplan.ir.errors import ModelError
from memplan.planner_service import places
from memplan.planner_service.child import outcome_of_error
from memplan.planner_service.places import without_places


@pytest.mark.parametrize(
    "folder", [tempfile.gettempdir(), sys.prefix, os.getcwd(), os.path.dirname(places.__file__)]
)
def test_of_paths_the_name_stays(folder: str) -> None:
    path = str(Path(folder) / "some" / "model.pt2")
    assert (
        without_places(f"{path}: damaged (see '{path}')") == "model.pt2: damaged (see 'model.pt2')"
    )


def test_what_is_no_place_of_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")  # the root is in every path
    for message in ("a/b", "x//y", "aten/relu: 1/2 of /v1/plans", "/request/budget: no", ""):
        assert without_places(message) == message


def test_outcomes_have_no_places() -> None:
    path = Path(tempfile.gettempdir()) / "x1" / "net.pt2"
    assert outcome_of_error(ModelError(f"{path}: no"))["detail"] == "net.pt2: no"
