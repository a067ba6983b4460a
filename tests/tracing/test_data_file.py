"""Data files that are missing, damaged, hostile, or hold something else than finite numbers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from memplan.ir.errors import DataError
from memplan.tracing.data_file import Header, name_samples, read_arrays


def test_arrays_are_read_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    x, y = np.arange(6, dtype=">f8").reshape(3, 2).T, np.arange(2, dtype=np.int32)
    np.savez_compressed(path, x=x, y=y)
    arrays = read_arrays(str(path))
    assert set(arrays) == {"x", "y"}
    assert arrays["x"].tolist() == x.tolist()
    assert arrays["y"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.array([[0.0], [np.nan], [1.0]]), "NaN or infinity.* in sample 1;"),
        (np.array([[np.inf], [0.0], [-np.inf]]), "in samples 0 and 2;"),
        (np.array(np.nan), "not finite"),
        (np.zeros((0, 3)), r"is empty \(shape \[0, 3\]\)"),
        (np.array(["a"]), "numbers are needed"),
        (np.array([1j]), "numbers are needed"),
        (np.array([{}, 1], dtype=object), "pickled Python objects"),
        (np.zeros(2, dtype=[("a", "f4")]), "numbers are needed"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, good=np.ones(3), x=array)
    with pytest.raises(DataError, match=f"array 'x'.*{complaint}"):
        read_arrays(str(path))


def claiming(path: Path, shape: tuple[int, ...], dtype: str = "<f4") -> None:
    """Write a file whose header claims a shape that its bytes do not have."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(64))


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (3,), (17,)])
def test_a_header_is_not_believed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    claiming(tmp_path / "data.npz", shape)
    with pytest.raises(DataError, match=r"claims the shape.*the file holds 64"):
        read_arrays(str(tmp_path / "data.npz"))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((-4, 4), "<f4"), ((10**12,), "|V0"), ((3,), "<U1000000000")]
)
def test_senseless_headers(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    claiming(tmp_path / "data.npz", shape, dtype)
    with pytest.raises(DataError):
        read_arrays(str(tmp_path / "data.npz"))


def test_nothing_is_unpacked_before_the_headers_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.zeros((4, 7), np.float32), y=np.zeros(4, np.int64))

    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("unpacked")

    def refuse(headers: Mapping[str, Header]) -> None:
        assert headers["x"] == Header((4, 7), np.dtype(np.float32))
        assert headers["y"].shape == (4,)
        raise DataError("of no use")

    monkeypatch.setattr(npy, "read_array", unpack)
    with pytest.raises(DataError, match="of no use"):
        read_arrays(str(path), refuse)


def test_data_files_run_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([Payload()], dtype=object))
    with pytest.raises(DataError):
        read_arrays(str(path))
    assert not marker.exists()


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((3, 5)))
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[: len(whole) // 2], b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read as \.npz"):
            read_arrays(str(path))
    flipped = bytearray(whole)
    flipped[200] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="CRC"):
        read_arrays(str(path))


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_arrays(str(tmp_path / "absent.npz"))
    with pytest.raises(DataError, match="this is a folder"):
        read_arrays(str(tmp_path))
    np.save(tmp_path / "x.npy", np.ones(3))
    with pytest.raises(DataError, match="one array"):
        read_arrays(str(tmp_path / "x.npy"))


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([3], "sample 3"),
        ([0, 3], "samples 0 and 3"),
        ([0, 1, 2, 5], "samples 0, 1, 2 and 5"),
        ([0, 1, 2, 5, 7], "samples 0, 1, 2 and 2 more"),
    ],
)
def test_samples_are_named(rows: list[int], text: str) -> None:
    assert name_samples(rows) == text
