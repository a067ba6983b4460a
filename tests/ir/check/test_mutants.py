"""Every kind of broken plan is rejected, by the right rule.

Each mutation must apply to at least one base, and every mutant must break the expected rule.
"""

from __future__ import annotations

import pytest

from memplan.ir.check import RULES, check
from memplan.ir.plan import Step
from tests.ir.check.bases import Case, bases
from tests.ir.check.mutations import MUTATIONS
from tests.support.naive_plan import default_mask


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutant_is_rejected(name: str) -> None:
    rule, mutate, alone = MUTATIONS[name]
    mutants = [(case, plan) for case in bases() for plan in mutate(case)]
    assert mutants, f"{name} applies to no base"
    for case, plan in mutants:
        found = {verdict.rule for verdict in check(case.graph, plan).verdicts}
        assert rule in found, f"{case.name}: {sorted(found)}"
        if alone:
            assert found == {rule}, f"{case.name}: {sorted(found)}"


def test_every_rule_is_broken_by_some_mutation() -> None:
    assert {rule for rule, _, _ in MUTATIONS.values()} == set(RULES)
    assert len(MUTATIONS) >= 25


@pytest.mark.parametrize("case", bases(), ids=lambda case: case.name)
def test_bases_are_accepted(case: Case) -> None:
    report = check(case.graph, case.plan)
    assert report.accepted, "\n".join(map(str, report.verdicts))


def test_default_mask_is_the_widest_option() -> None:
    case = next(case for case in bases() if case.name == "one-trip")
    assert [u.weight for u in default_mask(case.graph, case.plan.request)] == ["whole", "none"]
    assert isinstance(case.plan.body[0], Step)
