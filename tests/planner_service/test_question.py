from __future__ import annotations

import pytest

from memplan.planner_service import question as module
from memplan.planner_service.question import Question, question_id, solver_version
from memplan.solver import solver_version as version_of_solver
from tests.support.service import body_of, question


def test_the_id_is_of_the_content_alone() -> None:
    asked = question()
    again = Question.model_validate_json(body_of(asked))
    assert question_id(asked) == question_id(again)
    assert len(question_id(asked)) == 64


def test_the_id_follows_request_graph_and_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question()
    renamed = asked.graph.model_copy(update={"name": "other"})
    ids = {
        question_id(asked),
        question_id(question(10**6 + 1)),
        question_id(Question(graph=renamed, request=asked.request)),
    }
    monkeypatch.setattr(module, "solver_version", lambda: "another")
    assert len(ids | {question_id(asked)}) == 4


def test_the_version_is_the_solvers_own() -> None:
    assert solver_version() == version_of_solver()
