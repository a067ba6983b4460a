from __future__ import annotations

import pytest

from memplan.clients.export.c.names import Names, identifier, quoted


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3.conv1.weight", "t3_conv1_weight"),
        ("loss:0", "loss_0"),
        ("while", "twhile"),
        ("größe", "gr_e"),
        ("*/ system(0); /*", "system_0"),
        ("", "unnamed"),
    ],
)
def test_names_become_identifiers(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_every_name_is_given_once_whatever_its_case() -> None:
    names = Names()
    assert [names.new(name) for name in ("a.b", "a:b", "A_B")] == ["a_b", "a_b_2", "A_B_3"]


def test_literals_cannot_be_ended_from_inside() -> None:
    assert quoted('a"b\\c\n?') == '"a\\042b\\134c\\012\\077"'
