from __future__ import annotations

import pytest

from memplan.clients.report.wording import (
    format_count,
    format_seconds,
    gap_text,
    printable,
    share_text,
)


def test_names_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a?[31mb?c"
    assert len(printable("x" * 1000)) == 60


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [(999, "999 ns"), (1_500, "1.5 µs"), (2_000_000, "2 ms"), (3_210_000_000, "3.21 s")],
)
def test_durations(time_ns: int, text: str) -> None:
    assert format_seconds(time_ns) == text


def test_counts() -> None:
    assert [format_count(n) for n in (12, 1_500, 12_500_000)] == ["12", "1.5 k", "12.5 M"]


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0 %"), (0.99999, "99.9 %"), (0.5, "50.0 %"), (0.0, "0.0 %")]
)
def test_only_all_of_it_is_shown_as_all(share: float, text: str) -> None:
    assert share_text(share) == text


@pytest.mark.parametrize(
    ("gap", "text"),
    [
        (0.0, "0.0 %"),
        (1e-6, "0.1 %"),
        (0.001, "0.1 %"),
        (0.4026, "40.3 %"),
        (1.0, "100.0 %"),
        (36.03, "over 100 %"),
    ],
)
def test_only_what_is_proved_is_shown_as_no_gap(gap: float, text: str) -> None:
    assert gap_text(gap) == text
