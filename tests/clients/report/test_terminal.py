from __future__ import annotations

import io

import pytest
from rich.console import Console

from memplan.clients.report.terminal import plan_report
from memplan.ir.answer import Answer
from memplan.ir.graph import OpGraph
from memplan.ir.request import PlanRequest
from tests.support.answers import found, not_found
from tests.support.hand_graphs import chain, inference

REQUEST = PlanRequest(budget_bytes=300_000, batch=2)


def render(graph: OpGraph, answer: Answer, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace", write_through=True)
    console = Console(file=file, width=width, highlight=False)
    console.print(plan_report(graph, REQUEST, answer, console))
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    graph = chain(30, 2048)
    text = render(graph, found(graph, REQUEST), width)
    assert max(len(line) for line in text.splitlines()) <= width


def test_says_what_a_person_asks() -> None:
    graph = chain(30, 2048)
    answer = found(graph, REQUEST)
    assert answer.plan is not None
    text = render(graph, answer)
    assert f"{answer.plan.totals.arena_bytes:,} B" in text
    assert "300,000 B" in text
    assert answer.plan.peak.operation in text
    assert answer.plan.peak.tensors[0].tensor in text
    assert "budget" in text
    assert "importance is a proxy" in text


def test_ascii_terminals_get_ascii_pictures() -> None:
    graph = inference()
    text = render(graph, found(graph, REQUEST), encoding="ascii")
    picture = text[text.index("live bytes") : text.index("peak")]
    assert "#" in picture
    assert "?" not in picture


def test_what_does_not_fit_is_explained() -> None:
    graph = chain()
    text = render(graph, not_found(graph, REQUEST, proved=True))
    assert "does not fit in 293.0 KB: proved" in text
    assert "the head reads and writes more than the budget" in text
    assert "a batch of one sample" in text
    assert "8,208 B" in text
    assert "undecided" in render(graph, not_found(graph, REQUEST, proved=False))


def test_remedies_say_whether_they_are_plans_or_bounds() -> None:
    graph = chain()
    answer = not_found(graph, REQUEST, proved=False)
    assert answer.explanation is not None
    (bound,) = answer.explanation.remedies
    plan = bound.model_copy(update={"proven": True, "action": "a budget of 9000 B"})
    explanation = answer.explanation.model_copy(update={"remedies": (bound, plan)})
    text = render(graph, answer.model_copy(update={"explanation": explanation}))
    lines = [line for line in text.splitlines() if "8,208 B" in line]
    assert [" ".join(line.split()) for line in lines] == [
        "at least 8.0 KB 8,208 B a batch of one sample",
        "a plan was found 8.0 KB 8,208 B a budget of 9000 B",
    ]


def test_markup_in_names_is_text() -> None:
    graph = chain().model_copy(update={"name": "[red]x[/red]"})
    assert "[red]x[/red]" in render(graph, found(graph, REQUEST))
