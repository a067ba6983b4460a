"""The adaptation study: data, learning rates, both executors, and what is claimed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.learning_curves import CLOSE, compare_curves, step_agreement
from benchmarks.learning_data import ADAPTATION_IMAGES, CLASSES, OLD_CLASSES, digits, order
from benchmarks.learning_network import Accuracy, Rates, Subject, subject
from benchmarks.learning_runs import BIASES_AND_HEAD, FULL, HEAD, PLANNED, Learner, plan_for
from benchmarks.learning_study import (
    CASES,
    GRIDS,
    Cache,
    Case,
    Record,
    Scaling,
    best_rate,
    mean_and_spread,
)
from benchmarks.learning_table import Row, claims, rate_table, table
from memplan.clients.executors.torch import forward_outputs
from memplan.ir.request import LayerUpdate

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None, reason="no C compiler or no make"
)


@pytest.fixture(scope="module")
def known() -> Subject:
    """A network that nothing was pre-trained on, and that few images calibrate."""
    made = subject(0, digits(), epochs=0)
    parts = replace(made.split, pretraining=made.split.pretraining[::20])
    return replace(made, split=parts, importance_samples=4)


def record(scaling: Scaling, rate: float, accuracy: float, loss: float = 1.0) -> Record:
    accuracies = Accuracy(accuracy, accuracy, accuracy)
    return Record(
        seed=0, method="any", scaling=scaling, rate=rate, digest=f"{scaling} {rate}", steps=1200,
        validation=accuracies, test=accuracies, first_loss=2.0, last_loss=loss, changed=0.5,
    )  # fmt: skip


def row(case: Case, accuracy: float) -> Row:
    made = record(case.scaling, 0.01, accuracy)
    return Row(case, (2000, 1000), (200, 200), (900,), (made,), (made,))


def test_no_image_of_the_test_is_trained_on(known: Subject) -> None:
    parts = known.split
    labels = known.data.labels
    seen = torch.cat([parts.pretraining, parts.adaptation, parts.validation])
    assert not torch.isin(parts.test, seen).any()
    assert not torch.isin(parts.validation, torch.cat([parts.pretraining, parts.adaptation])).any()
    assert int(labels[parts.pretraining].max()) == OLD_CLASSES - 1
    assert torch.bincount(labels[parts.adaptation]).tolist() == [ADAPTATION_IMAGES] * CLASSES
    assert set(labels[parts.test].tolist()) == set(range(CLASSES))


def test_each_epoch_has_each_image_once() -> None:
    images = torch.tensor([5, 7, 9, 11])
    found = order(images, 3, seed=1)
    for epoch in range(3):
        assert sorted(found[4 * epoch : 4 * epoch + 4]) == images.tolist()
    assert found == order(images, 3, seed=1) != order(images, 3, seed=2)


def test_the_step_trains_what_the_inference_scores(known: Subject) -> None:
    """Both graphs are quantized alike: the loss of one is that of the scores of the other."""
    graph = known.graph(Rates(0.01))
    images, labels = known.data.of(known.split.test[:4])
    inputs = {"input": images, "labels": labels}
    (loss,) = forward_outputs(graph, 4, known.weights(graph), inputs).values()
    scores = known.scores({}, known.split.test[:4])
    assert float(loss) == pytest.approx(float(F.cross_entropy(scores, labels)), rel=1e-6)
    moved = known.weights(graph)["14.bias"] + torch.arange(CLASSES)
    assert torch.allclose(
        known.scores({"14.bias": moved}, known.split.test[:4]), scores + torch.arange(CLASSES)
    )


def test_the_head_may_have_a_rate_of_its_own(known: Subject) -> None:
    def rates(rates: Rates) -> dict[str, set[float]]:
        graph = known.graph(rates, aware=False)
        wanted = {layer.id: set[float]() for layer in graph.layers}
        for operation in graph.operations:
            if operation.phase == "update" and operation.layer:
                arguments = operation.alternatives[0].arguments
                wanted[operation.layer] |= {a for a in arguments if a in (0.01, 0.25)}
        return wanted

    assert set(map(frozenset, rates(Rates(0.25)).values())) == {frozenset([0.25])}
    apart = rates(Rates(0.25, 0.01))
    assert apart.pop("14") == {0.01}
    assert set(map(frozenset, apart.values())) == {frozenset([0.25])}


def test_biases_and_head_is_a_mask_of_these(known: Subject) -> None:
    mask = BIASES_AND_HEAD.mask(known.graph(Rates(0.01)))
    assert isinstance(mask, tuple)
    *biases, head = mask
    assert head == LayerUpdate(layer="14", bias=True, weight="whole")
    assert all(update.bias and update.weight == "none" for update in biases)
    assert len(biases) == 27


@needs_compiler
def test_both_executors_learn_alike(known: Subject, tmp_path: Path) -> None:
    learner = Learner(known, HEAD, plan_for(known, HEAD, 0.2), tmp_path / "head")
    first = learner.prepared(Rates(0.01))
    images = order(known.split.adaptation, 1, 0)[:12]
    found = compare_curves(first, images)
    assert found.apart_from is None
    assert found.largest <= CLOSE
    assert found.mean_difference < CLOSE
    assert step_agreement(first, images, 5).ok

    # For another rate only the step is compiled again, and another program comes of it.
    weights = tmp_path / "head" / "build" / "host" / "weights.c.o"
    compiled = weights.stat().st_mtime_ns
    faster = learner.prepared(Rates(1.0))
    assert faster.digest != first.digest
    assert faster.run(images).losses != first.run(images[:1]).losses
    assert weights.stat().st_mtime_ns == compiled

    # A program that is not that of the plan is seen.
    assert not compare_curves(first, images).mean_difference < CLOSE


def test_a_rate_is_chosen_by_accuracy_then_by_loss() -> None:
    grid = [
        record("aware", 0.001, 0.8, 0.1),
        record("aware", 0.01, 0.9, 0.5),
        record("aware", 0.1, 0.9, 0.4),
        record("aware", 1.0, 0.9, float("nan")),
    ]
    assert best_rate(grid) == 0.1
    mean, spread = mean_and_spread([0.5, 0.9, 0.7])
    assert mean == pytest.approx(0.7) and spread == pytest.approx(0.2)
    assert len({len(grid) for grid in GRIDS.values()}) == 1, "each has as many to choose from"
    assert all(case.scaling in GRIDS for case in CASES)


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "lines.jsonl")
    made = [record("aware", 0.1, 0.5), record("plain", 10.0, 0.25, float("inf"))]
    for each in made:
        cache.keep(each)
    with (tmp_path / "lines.jsonl").open("a") as file:
        file.write('{"seed": 0, "meth')
    again = Cache(tmp_path / "lines.jsonl")
    assert [again.find(each.digest, each.steps) for each in made] == made
    assert again.find(made[0].digest, 600) is None


def test_what_was_not_measured_is_not_claimed_to_hold() -> None:
    rows = [
        row(Case(HEAD, "none"), 0.7),
        row(Case(PLANNED, "aware"), 0.8),
        row(Case(PLANNED, "plain"), 0.75),
        row(Case(FULL, "aware"), 0.8),
        row(Case(FULL, "plain"), 0.85),
    ]
    assert [claim.holds for claim in claims(rows)] == [True, True, False]
    assert "85.0%" in claims(rows)[-1].text


def test_tables_show_the_chosen_rate() -> None:
    grid = (record("aware", 0.1, 0.5), record("aware", 0.3, 0.75))
    case = Case(PLANNED, "aware")
    assert "**0.3: 75.0%**" in rate_table([replace(row(case, 0.0), records=grid[1:], grid=grid)])
    text = table([replace(row(case, 0.0), records=grid)], [Accuracy(0.5, 0.0, 1.0)])
    assert "1,000 to 2,000" in text
    assert "62.5 ± 12.5 %" in text
