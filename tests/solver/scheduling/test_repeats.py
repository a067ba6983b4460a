from __future__ import annotations

from collections import Counter

from memplan.solver.scheduling.repeats import kinds_of_items
from tests.solver.problems import fork, table_of
from tests.support.hand_graphs import chain


def test_equal_layers_have_equal_kinds_except_at_the_ends() -> None:
    table = table_of(chain(20))
    kinds = [int(kind) for kind in kinds_of_items(table)]
    counts = Counter(kinds)
    assert max(counts.values()) >= 8
    assert len(counts) > 2
    for kind in counts:
        sizes = {table.size[item] for item, other in enumerate(kinds) if other == kind}
        assert len(sizes) == 1


def test_kinds_are_numbered_from_nothing() -> None:
    kinds = kinds_of_items(table_of(fork()))
    assert sorted(set(kinds.tolist())) == list(range(int(kinds.max()) + 1))
