from __future__ import annotations

import os
from pathlib import Path

import pytest

from memplan.clients.cli.files import (
    must_be_writable,
    new_file,
    read_contributions,
    read_mask,
    write_text,
)
from memplan.ir.errors import RequestError


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"

    def fail_half_way() -> None:
        with new_file(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    with new_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "plan.json", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o640


def test_refusals_name_the_flag(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"-o .*folder"):
        must_be_writable(tmp_path, "-o")
    with pytest.raises(RequestError, match="create it first"):
        must_be_writable(tmp_path / "missing" / "plan.json", "-o")
    with pytest.raises(RequestError, match="no regular file"):
        must_be_writable(Path(os.devnull), "-o")
    must_be_writable(None, "-o")


def test_the_system_refuses(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(RequestError, match="nothing was written"):
        write_text(path, "x")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^--update .*no such file, and none of auto, full"):
        read_mask(tmp_path / "most")
    with pytest.raises(RequestError, match=r"^--contributions .*No such file"):
        read_contributions(tmp_path / "gains.json")


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        ('[{"layer": "a", "weight": "most"}]', r": 0\.weight: must be 'none', 'whole', 'input'"),
        ('{"layer": "a"}', r"mask\.json: must be a valid array;"),
        ('[{"layer": "a"}]', "nothing is updated"),
        ('[{"layer": "a", "extra": 1}]', r": 0\.extra: "),
    ],
)
def test_a_mask_is_explained(mask: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.json"
    path.write_text(mask)
    with pytest.raises(RequestError, match=complaint):
        read_mask(path)
