from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from memplan.planner_service import uploads
from tests.planner_service.test_app import assert_problem
from tests.support.service import FakeWorker

WAIT = {"Prefer": "wait=5"}


def archive(*names: str) -> bytes:
    """Return a zip with these members; it is never looked into by the server itself."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name in names:
            members.writestr(name, "{}")
    return file.getvalue()


EXPORTED = archive("net/models/model.json", "net/data/weights/weight_0")


def upload(client: TestClient, content: bytes, **fields: Any) -> Any:
    return client.post(
        "/v1/plans", files={"model": ("net.pt2", content)}, data=fields, headers=WAIT
    )


def test_an_exported_program_is_traced_and_planned(client: TestClient, worker: FakeWorker) -> None:
    response = upload(client, EXPORTED, budget="1MB", batch="2", optimizer="adam", lr="0.5")
    assert response.status_code == 200
    settings = worker.traced[0]
    assert (settings["batch"], settings["optimizer"], settings["learning_rate"]) == (2, "adam", 0.5)
    assert worker.solved[0].request.budget_bytes == 2**20


def test_a_mask_in_a_form(client: TestClient, worker: FakeWorker) -> None:
    mask = '[{"layer": "head", "weight": "whole"}]'
    assert upload(client, EXPORTED, budget="1MB", update=mask, micro_batch="1").status_code == 200
    request = worker.solved[0].request
    assert isinstance(request.update, tuple)
    assert request.micro_batch == 1


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/nonexistent/mark"),))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        archive("net/data.pkl"),
        archive("net/constants.pkl"),
        b"",
        b"PK\x03\x04",
    ],
)
def test_pickles_are_refused_with_the_command_that_converts(
    client: TestClient, worker: FakeWorker, content: bytes
) -> None:
    assert_problem(upload(client, content, budget="1MB"), 415, "plan trace MODEL.pt")
    assert worker.traced == []


def test_a_server_without_torch_says_what_to_do(
    client: TestClient, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "find_spec", lambda name: None)
    assert_problem(upload(client, EXPORTED, budget="1MB"), 501, "memplan[trace]", "plan trace")
    assert worker.traced == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "budget"),
        ({"budget": "lots"}, "lots"),
        ({"budget": "1MB", "batch": "many"}, "batch"),
        ({"budget": "1MB", "surprise": "1"}, "surprise"),
        ({"budget": "1MB", "update": "[{"}, "update"),
        ({"budget": "1MB", "micro_batch": "3"}, "micro_batch"),
        ({"budget": "1MB", "time_limit": "nan"}, "time_limit"),
        ({"budget": ["1MB", "2MB"]}, "twice"),
    ],
)
def test_bad_forms(client: TestClient, fields: dict[str, Any], word: str) -> None:
    assert_problem(upload(client, EXPORTED, **fields), 422, word)


def test_a_form_without_a_file(client: TestClient) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="budget"\r\n\r\n1MB\r\n--x--\r\n'
    assert_problem(client.post("/v1/plans", content=body, headers=form), 422, "model")


def test_a_broken_form(client: TestClient) -> None:
    form = {"Content-Type": "multipart/form-data"}
    assert_problem(client.post("/v1/plans", content=b"x", headers=form), 400)
