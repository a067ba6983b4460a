"""The rivals' packings are right, and as the real planners' where these are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import packing
from benchmarks.packing import arena, measure, table
from benchmarks.packing_ablation import ablation
from benchmarks.packing_cases import Case, cases
from benchmarks.packing_rivals import GREEDY, cp_sat, executorch_greedy, minimalloc
from memplan.ir.packing import PackingBuffer
from memplan.solver.clock import Clock
from memplan.solver.packing import Rectangle, clique_bound
from memplan.solver.packing.flat import flatten
from memplan.solver.packing.portfolio import decide

INSTANCES = Path(packing.__file__).parent / "instances"
#: Arena of the largest-first, lowest-gap rule as a multiple of the peak, as measured elsewhere;
#: which of equal sizes goes first makes some difference.
TFLM = {"A": 1.290, "B": 1.347, "C": 1.364, "D": 1.309, "E": 1.369, "F": 1.375, "G": 1.332}


def small() -> Case:
    rows = [(0, 2, 6), (1, 4, 5), (2, 6, 2), (3, 5, 3), (4, 6, 3), (5, 7, 5), (6, 7, 6)]
    return Case("small", tuple(PackingBuffer(str(i), *row) for i, row in enumerate(rows)), 12, 1)


@pytest.mark.parametrize("case", list(cases([INSTANCES])), ids=lambda case: case.name)
def test_minimalloc_instances(case: Case) -> None:
    rectangles = [Rectangle(b.lower, b.upper, b.size) for b in case.buffers]
    assert case.capacity == 1_048_576
    flat = flatten(rectangles, [1] * len(rectangles))
    highest = flat.highest(rectangles, case.capacity)
    found = decide(flat, highest, 1e12, clock=Clock(), workers=2, node_limit=400_000)
    assert found.offsets is not None
    assert (arena(case.buffers, list(found.offsets)) or 0) <= case.capacity
    peak = clique_bound(rectangles)
    greedy = {
        name: (arena(case.buffers, packer(case)) or 0) / peak for name, packer in GREEDY.items()
    }
    assert min(greedy.values()) >= 1
    assert greedy["TFLM greedy"] == pytest.approx(TFLM[case.name[-1]], abs=0.03)


def test_executorch_shares_objects() -> None:
    # The second meets nothing of the first object; the third overlaps both and fits above the
    # second only; the fourth overlaps all and needs an object of its own.
    rows = [(0, 2, 100), (2, 4, 60), (3, 5, 40), (0, 5, 30)]
    case = Case("four", tuple(PackingBuffer(str(i), *row) for i, row in enumerate(rows)), None, 1)
    assert executorch_greedy(case) == [0, 0, 60, 100]


def test_a_wrong_packing_is_refused() -> None:
    with pytest.raises(ValueError, match="share bytes"):
        arena(small().buffers, [0] * 7)
    assert arena(small().buffers, None) is None


def test_cp_sat_alone() -> None:
    assert cp_sat(small(), 11, 5.0, 1) is None
    assert arena(small().buffers, cp_sat(small(), 12, 5.0, 1)) == 12


def test_rectangles_of_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "nets.json"
    path.write_text(json.dumps({"one": {"rects": [[0, 2, 8, "x"]]}, "source": "none"}))
    (case,) = cases([path])
    assert (case.name, case.buffers) == ("nets one", (PackingBuffer("0", 0, 2, 8),))


def test_the_binary_of_minimalloc_is_asked(tmp_path: Path) -> None:
    binary = tmp_path / "minimalloc"
    binary.write_text(
        "#!/bin/sh\n"
        'for a in "$@"; do case $a in --input=*) i=${a#*=};; --output=*) o=${a#*=};; esac; done\n'
        'awk -F, \'NR==1{print $0",offset";next}{print $0","$1*100}\' "$i" > "$o"\n'
    )
    binary.chmod(0o755)
    assert minimalloc(binary, small(), 12, 1.0) == [0, 100, 200, 300, 400, 500, 600]
    binary.write_text("#!/bin/sh\nexit 1\n")
    assert minimalloc(binary, small(), 12, 1.0) is None


def test_the_section(tmp_path: Path) -> None:
    path = tmp_path / "small.12.csv"
    lines = [f"{b.id},{b.lower},{b.upper},{b.size}" for b in small().buffers]
    path.write_text("\n".join(["id,lower,upper,size", *lines]))
    target = tmp_path / "page.md"
    arguments = [str(path), "--seconds", "2", "--ablation-seconds", "0.2", "-o", str(target)]
    assert packing.main(arguments) == 0
    text = target.read_text()
    assert "1 of 1 instances packed" in text
    assert "| small " in text and "without" in text
    row = measure(small(), 2.0, 1, 0, None)
    assert row.peak == 11 and row.least[0].capacity == 12
    assert "1.091 optimal" in table([row])
    assert "| nothing" in ablation([small()], 0.2, seeds=(0,))
