from __future__ import annotations

import pytest

from benchmarks.planners.instances import layered
from benchmarks.planners.ours import as_graph, as_request
from memplan.ir.baseline import baseline_bytes
from memplan.ir.plan import Certificate
from memplan.solver import Techniques, solve
from memplan.solver.bounding import bound_every_order
from tests.solver.test_other_micro_batches import least_time_ns, pursuit_of
from tests.support.hand_graphs import chain


def certificate_of(*without: str) -> Certificate:
    problem = layered(60, 1)
    request = as_request(int(0.55 * problem.plain_peak_bytes), 4.0, workers=1)
    request = request.model_copy(update={"deterministic": True})
    answer = solve(
        as_graph(problem), request, techniques=Techniques.without("order_search", *without)
    )
    assert answer.plan is not None
    certificate = answer.plan.certificate
    assert certificate.lower_bound_time_ns is not None
    assert problem.base_cost <= certificate.lower_bound_time_ns <= answer.plan.totals.time_ns
    if "any_order_bound" in without:
        assert certificate.lower_bound_time_ns == problem.base_cost
    return certificate


def test_the_certificate_says_what_holds_in_every_order() -> None:
    certificate = certificate_of()
    along = certificate.levels[0]
    assert along.bound is not None
    assert certificate.lower_bound_time_ns is not None
    # Closer than what must run, which knows no memory; and no closer than the bound along the line.
    plain = certificate_of("any_order_bound").lower_bound_time_ns
    assert plain is not None
    assert plain < certificate.lower_bound_time_ns <= along.bound


@pytest.mark.parametrize("briefly", [True, False])
def test_the_least_time_of_every_micro_batch_is_raised(briefly: bool) -> None:
    graph = chain(8)
    budget = int(0.62 * baseline_bytes(graph, 4))
    pursuit = pursuit_of(graph, budget, 4)
    assert pursuit.best is not None
    mask = pursuit.best.instance.mask()
    before = [side.least_time_ns(mask) for side in pursuit.sides]
    bound_every_order(pursuit, pursuit.sides, 20.0, briefly=briefly)
    after = [side.least_time_ns(mask) for side in pursuit.sides]
    # The halves' plan takes no longer than what must run; the whole batch computes again.
    assert before[0] < after[0] <= least_time_ns(graph, budget, 4, 4)
    assert before[1] <= after[1] <= least_time_ns(graph, budget, 4, 2)


def test_without_the_technique_nothing_is_raised() -> None:
    graph = chain(8)
    pursuit = pursuit_of(graph, int(0.62 * baseline_bytes(graph, 4)), 4)
    pursuit.techniques = Techniques.without("any_order_bound")
    assert pursuit.best is not None
    mask = pursuit.best.instance.mask()
    before = [side.least_time_ns(mask) for side in pursuit.sides]
    bound_every_order(pursuit, pursuit.sides, 20.0)
    assert [side.least_time_ns(mask) for side in pursuit.sides] == before
