from __future__ import annotations

import pytest

from memplan.ir.errors import RequestError
from memplan.solver.micro_batches import allowed_micro_batches
from tests.solver.problems import request
from tests.support.hand_graphs import chain, diamond, statistics


def test_divisors_the_largest_first() -> None:
    graph = chain(1)
    assert allowed_micro_batches(graph, request(graph, batch=12)) == (12, 6, 4, 3, 2, 1)
    assert allowed_micro_batches(graph, request(graph, batch=7)) == (7, 1)


def test_the_users_choice() -> None:
    graph = chain(1)
    assert allowed_micro_batches(graph, request(graph, batch=12, micro_batch=3)) == (3,)


def test_coupled_samples_are_not_divided() -> None:
    graph = statistics()
    assert allowed_micro_batches(graph, request(graph, batch=4)) == (4,)
    assert allowed_micro_batches(graph, request(graph, batch=4, micro_batch=4)) == (4,)
    with pytest.raises(RequestError, match="bn uses batch statistics"):
        allowed_micro_batches(graph, request(graph, batch=4, micro_batch=2))


def test_a_fixed_batch_is_the_traced_one() -> None:
    graph = diamond()
    assert allowed_micro_batches(graph, request(graph)) == (1,)
    with pytest.raises(RequestError, match="holds for batch 1 only"):
        allowed_micro_batches(graph, request(graph, batch=2))
