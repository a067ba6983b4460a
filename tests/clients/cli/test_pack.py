from __future__ import annotations

import json
from pathlib import Path

import pytest

import memplan
from memplan.clients.cli import main
from memplan.ir.check.packing import packing_faults
from memplan.ir.errors import DataError, RequestError
from memplan.ir.packing import PackedBuffer, PackingBuffer, read_buffers

#: At [1, 2) all three live: 10 bytes, or 13 in multiples of 4.
ROWS = "id,size,lower,upper\na,3,0,2\nc,2,0,2\n\nd,5,1,4\n"
#: The peak of live bytes is 11, and 12 is the best that can be had.
GAP = [(0, 2, 6), (1, 4, 5), (2, 6, 2), (3, 5, 3), (4, 6, 3), (5, 7, 5), (6, 7, 6)]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return str(path)


@pytest.fixture
def gap(tmp_path: Path) -> str:
    path = tmp_path / "gap.csv"
    lines = [f"{i},{a},{b},{size}" for i, (a, b, size) in enumerate(GAP)]
    path.write_text("\n".join(["id,lower,upper,size", *lines]))
    return str(path)


def test_the_least_capacity(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", rows, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["capacity"], document["lower_bound"]) == (
        "optimal",
        10,
        10,
    )
    placed = [PackedBuffer(**place) for place in document["buffers"]]
    assert packing_faults(read_buffers(Path(rows)), placed, 10) == []


@pytest.mark.parametrize(
    ("capacity", "code", "status"),
    [("10", 0, "feasible"), ("9", 1, "infeasible"), ("1KB", 0, "feasible")],
)
def test_a_capacity(
    rows: str, capsys: pytest.CaptureFixture[str], capacity: str, code: int, status: str
) -> None:
    assert main(["pack", rows, "--capacity", capacity, "--format", "json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    assert document["capacity"] == (1024 if capacity == "1KB" else int(capacity))
    assert document["lower_bound"] == 10
    assert len(document["buffers"]) == (0 if code else 3)


def test_a_proof_above_the_peak_of_live_bytes(gap: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", gap, "--capacity", "11"]) == 1
    assert "need at least 12 B" in capsys.readouterr().out
    assert main(["pack", gap]) == 0
    assert capsys.readouterr().out.startswith("optimal: 7 buffers in 12 B")


def test_alignment_of_the_file_and_of_the_option(
    tmp_path: Path, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", rows, "--alignment", "4", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["capacity"] == 13
    path = tmp_path / "own.csv"
    path.write_text("alignment,upper,lower,size,id\n8,2,0,3,a\n,2,0,3,b\n,2,0,2,c\n")
    assert main(["pack", str(path), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["capacity"] == document["lower_bound"] == 8
    assert document["buffers"][0]["offset"] % 8 == 0


def test_the_map_shows_who_lies_where(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", rows]) == 0
    drawn = [line for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert len(drawn) == 10  # one row per byte, where there are no more
    cells = "".join(line.partition("|")[2] for line in drawn)
    assert cells.count(".") == 10 * 3 - 3 * 2 - 2 * 2 - 5 * 2


def test_the_result_is_written(rows: str, tmp_path: Path) -> None:
    target = tmp_path / "packed.json"
    assert main(["pack", rows, "-o", str(target)]) == 0
    assert json.loads(target.read_text())["capacity"] == 10


def test_undecided(tmp_path: Path) -> None:
    # Awkward sizes, and hardly any time.
    path = tmp_path / "hard.csv"
    lines = [f"{i},{i * 7 % 50},{i * 7 % 50 + 1 + i % 9},{997 + i * 31 % 501}" for i in range(300)]
    path.write_text("\n".join(["id,lower,upper,size", *lines]))
    bound = memplan.pack(path, time_limit=0.001).lower_bound
    arguments = ["pack", str(path), "--capacity", str(bound), "--time-limit", "0.001"]
    assert main(arguments) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("id,lower,size\n", "line 1: no column upper"),
        ("id,lower,upper,size,id\n", "line 1: column id stands there twice"),
        ("id,lower,upper,size\na,0,1,1\nb,0,x,1\n", "line 3: upper is 'x'"),
        ("id,lower,upper,size\na,0,1\n", "line 2: no size"),
        ("id,lower,upper,size\na,0,1,4,7\n", "line 2: 5 cells, and the first line names 4"),
        ("id,lower,upper,size\na,1,1,1\n", "line 2: lower is 1, upper is 1"),
        ("id,lower,upper,size\na,0,1,-1\n", "line 2: size is -1"),
        ("id,lower,upper,size\na,0,1,1.5\n", "line 2: size is '1.5'"),
        ("id,lower,upper,size\na,0,1,999999999999999999\n", "line 2: size is 999999999999999999"),
        ("id,lower,upper,size\na,0,1,1\na,0,1,1\n", "line 3: id 'a' stands there twice"),
        ("id,lower,upper,size\n,0,1,1\n", "line 2: its id"),
        ("id,lower,upper,size,alignment\na,0,1,1,0\n", "line 2: alignment is 0"),
        ('id,lower,upper,size\n"a,0,1,1\n', "line 2"),
    ],
)
def test_bad_files_name_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["pack", str(path)]) == 3
    assert message in capsys.readouterr().err


def test_what_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["pack", str(path)]) == 3
    assert main(["pack", str(tmp_path / "none.csv")]) == 3
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--capacity", "much"], ["--alignment", "0"], ["--time-limit", "0"], ["-o", "/none/x.json"]],
)
def test_usage(rows: str, options: list[str]) -> None:
    assert main(["pack", rows, *options]) == 2


def test_from_python() -> None:
    buffers = [
        PackingBuffer("a", 0, 2, 3),
        PackingBuffer("b", 1, 3, 4),
        PackingBuffer("z", 0, 9, 0),
    ]
    answer = memplan.pack(buffers)
    assert (answer.status, answer.capacity, answer.lower_bound) == ("optimal", 7, 7)
    assert answer.buffers[2].offset == 0
    with pytest.raises(AttributeError):
        answer.capacity = 3  # type: ignore[misc]
    assert memplan.pack([]).capacity == 0
    assert memplan.pack(buffers, "1KB").status == "feasible"
    with pytest.raises(DataError, match="twice"):
        memplan.pack([buffers[0], buffers[0]])
    with pytest.raises(DataError, match="lower"):
        memplan.pack([PackingBuffer("a", 2, 2, 1)])
    with pytest.raises(RequestError, match="alignment"):
        memplan.pack(buffers, alignment=0)
