from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from memplan.ir.request import PlanRequest
from memplan.solver import Progress, solve
from memplan.solver.bounds import lower_bound
from memplan.solver.clock import Clock
from memplan.solver.levels import Proof
from memplan.solver.progress import Reporter
from memplan.solver.pursuit import Pursuit, Side
from memplan.solver.solution import Solution, Worth, place
from memplan.solver.standing import Proved, report, still_proved
from memplan.solver.techniques import Techniques
from tests.solver.problems import instance_of, request, skip, table_of
from tests.support.hand_graphs import chain, two_layers


def asked_for_parts() -> PlanRequest:
    return request(two_layers(), 700, update="auto", slice_divisors=(2,), time_limit_seconds=20.0)


def solution(minus_importance: int = 0) -> Solution:
    table = table_of(skip(), 200)
    found = place(table, [(work, 0) for work in range(5)], 200, 0.0)
    return replace(found, worth=replace(found.worth, minus_importance=minus_importance))


class Watch:
    """A clock that is set, and what was told when."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.told: list[tuple[float, str]] = []
        self.reporter = Reporter(self._take, now=lambda: self.seconds)

    def _take(self, progress: Progress) -> None:
        self.told.append((self.seconds, progress.stage))

    def tell(self, stage: str, news: bool = False) -> None:
        self.reporter.tell(stage, lambda seconds: Progress(stage, seconds), news)


@pytest.mark.parametrize("news", [True, False])
def test_never_more_than_five_reports_in_any_second(news: bool) -> None:
    watch = Watch()
    for number in range(1000):
        watch.tell(f"stage {number // 3}", news)
        watch.seconds += 0.01
    moments = [moment for moment, _ in watch.told]
    assert len(moments) == 50
    assert all(later - moment >= 1.0 for moment, later in zip(moments, moments[5:], strict=False))


def test_stages_and_news_are_told_at_once_and_the_rest_four_times_a_second() -> None:
    watch = Watch()
    for _ in range(100):
        watch.tell("annealing")
        watch.seconds += 0.01
    assert len(watch.told) == 4
    watch.seconds += 10.0
    watch.told.clear()
    watch.tell("packing")
    watch.tell("packing")
    watch.tell("packing", news=True)
    watch.tell("joint model")
    assert [stage for _, stage in watch.told] == ["packing", "packing", "joint model"]


def test_other_threads_are_not_listened_to() -> None:
    watch = Watch()
    thread = threading.Thread(target=lambda: watch.tell("from elsewhere"))
    thread.start()
    thread.join()
    assert watch.told == []
    watch.tell("from here")
    assert len(watch.told) == 1


def test_the_level_that_is_improved_comes_with_its_bound_and_gap() -> None:
    best = solution(minus_importance=-80)
    time_ns, arena_bytes = best.worth.time_ns, best.worth.arena_bytes
    for proof, level, bound in (
        (Proof(100, 1, 1), "importance", 100),
        (Proof(80, time_ns - 6, 1), "time_ns", time_ns - 6),
        (Proof(80, None, 1), "time_ns", None),
        (Proof(80, time_ns, None), "arena_bytes", 100),
        (Proof(80, time_ns, 150), "arena_bytes", 150),
        (Proof(80, time_ns, arena_bytes), "arena_bytes", arena_bytes),
    ):
        told = report("stage", 1.0, best, proof, 100, choice=True)
        assert (told.level, told.bound) == (level, bound)
        value = told.value
        assert value is not None
        assert told.gap == (None if bound is None else abs(value - bound) / value)
    assert report("stage", 1.0, best, Proof(80, time_ns - 6), 1, choice=False).level == "time_ns"


def test_a_bound_that_this_plan_is_beyond_is_not_shown() -> None:
    best = solution()
    told = report("stage", 1.0, best, Proof(0, best.worth.time_ns + 1), 1, choice=False)
    assert (told.level, told.bound, told.gap) == ("time_ns", None, None)


def test_what_was_proved_along_another_plan_is_not_shown_of_this_one() -> None:
    old, new = solution(-80), solution(-80)
    along = Proved(Proof(100, 7, 5, ["along this line"]), old)
    assert still_proved(old, along, 100) == along.proof
    assert still_proved(new, along, 100) == Proof(100)
    free = Proved(Proof(80, 7, 5), old)
    assert still_proved(new, free, 100) == Proof(80, 7)
    assert still_proved(solution(-60), free, 100) == Proof(80)
    assert still_proved(new, None, 100) == Proof(100)


def test_a_pursuit_tells_of_better_plans_and_while_its_clock_is_asked() -> None:
    told: list[Progress] = []
    instance = instance_of(skip(), 200)
    pursuit = Pursuit(request(skip(), 200), Techniques(), Reporter(told.append), 1e12, Clock())
    pursuit.sides.append(Side(1, instance, lower_bound(instance)))
    pursuit.tell("annealing")
    found = solution()
    pursuit.offer(found)
    assert [(p.stage, p.time_ns) for p in told] == [
        ("annealing", None),
        ("annealing", found.worth.time_ns),
    ]
    pursuit.reporter._told.clear()
    pursuit.clock.over(1e15)
    assert len(told) == 3
    assert told[-1].arena_bytes == found.worth.arena_bytes
    assert told[-1].lower_bound_bytes == lower_bound(instance).bytes


def test_stages_incumbents_and_bounds_of_a_search() -> None:
    told: list[Progress] = []
    answer = solve(two_layers(), asked_for_parts(), progress=told.append)
    assert answer.plan is not None
    assert told[0].stage == "bounds"
    elapsed = [progress.elapsed_seconds for progress in told]
    assert elapsed == sorted(elapsed)
    worths = [
        Worth(-p.importance, p.time_ns or 0, p.arena_bytes or 0)
        for p in told
        if p.importance is not None
    ]
    assert worths == sorted(worths, reverse=True)
    with_plan = [progress for progress in told if progress.level is not None]
    assert with_plan
    for progress in with_plan:
        value, bound = progress.value, progress.bound
        assert value is not None
        if bound is not None:
            assert bound >= value if progress.level == "importance" else bound <= value
            assert progress.gap == abs(value - bound) / max(1, abs(value))
    assert {p.lower_bound_bytes for p in told[1:]} <= {answer.lower_bound_bytes, None}


def test_the_joint_model_tells_its_bounds_while_it_is_solved() -> None:
    graph = chain(4, 64)
    told: list[Progress] = []
    asked = request(graph, 900, batch=1, time_limit_seconds=4.0, compute_limit=None)
    solve(graph, asked, progress=told.append, techniques=Techniques.without("retention_bound"))
    joint = [p for p in told if p.stage.startswith("joint model")]
    assert joint
    assert all(p.lower_bound_bytes is not None for p in joint)


def test_watching_changes_nothing() -> None:
    graph = two_layers()
    asked = asked_for_parts().model_copy(update={"deterministic": True, "time_limit_seconds": 0.2})
    watched = solve(graph, asked, progress=lambda _: None).plan
    alone = solve(graph, asked).plan
    assert watched is not None
    assert alone is not None
    assert watched.content_hash() == alone.content_hash()


def test_nobody_needs_to_listen() -> None:
    watch = Reporter(None)
    watch.tell("bounds", lambda seconds: pytest.fail("made for nobody"))
    assert solve(skip(), request(skip(), 120)).plan is not None
