from __future__ import annotations

import asyncio
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from memplan.ir.graph import OpGraph
from memplan.planner_service import uploads
from memplan.planner_service.app import create_app
from memplan.planner_service.children import ChildWorker
from memplan.planner_service.problems import ProblemError
from memplan.planner_service.settings import Settings
from memplan.planner_service.traces import Traces
from memplan.planner_service.uploads import file_name
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
    place = response.links["related"]["url"]
    assert OpGraph.from_json(client.get(place).content) == worker.graph


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


def test_a_file_that_is_cut_off_is_called_so(client: TestClient, worker: FakeWorker) -> None:
    for length in (4, len(EXPORTED) // 2, len(EXPORTED) - 30):
        assert_problem(upload(client, EXPORTED[:length], budget="1MB"), 415, "cut off")
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
        ({"budget": "1MB", "time_limit": "9999"}, "this server allows"),
        ({"budget": "1MB", "mode": "infer", "lr": "0.1"}, "lr belongs to training"),
        ({"budget": "1MB", "batch": "4", "micro_batch": "3"}, "does not divide"),
        ({"budget": "1MB", "batch": "9999999"}, "batch"),
    ],
)
def test_bad_forms(
    client: TestClient, worker: FakeWorker, fields: dict[str, Any], word: str
) -> None:
    assert_problem(upload(client, EXPORTED, **fields), 422, word)
    # Nothing was traced for it, but where the model's own batch had to be known.
    assert len(worker.traced) == (fields == {"budget": "1MB", "micro_batch": "3"})


def test_a_bad_form_is_refused_before_a_bad_file(client: TestClient) -> None:
    assert_problem(upload(client, b"no model", budget="lots"), 422, "lots")


def test_fields_are_called_as_in_the_form(client: TestClient) -> None:
    problem = assert_problem(upload(client, EXPORTED, budget="1MB", time_limit="1e9"), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/time_limit"]
    problem = assert_problem(upload(client, EXPORTED, budget="0B"), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/budget"]


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ("net.pt2", "net.pt2"),
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\my net.pt2", "my net.pt2"),
        ("a\nb\x1b[31m\u202e.pt2", "ab[31m.pt2"),
        ("x" * 300, "x" * 100),
        ("", "model.pt2"),
        ("/", "model.pt2"),
        (None, "model.pt2"),
    ],
)
def test_names_of_files_are_short_and_printable(claimed: str | None, name: str) -> None:
    assert file_name(claimed) == name


def test_the_worker_gets_the_name(client: TestClient, worker: FakeWorker) -> None:
    assert upload(client, EXPORTED, budget="1MB").status_code == 200
    assert worker.names == ["net.pt2"]


def test_a_full_queue_is_said_before_tracing(client: TestClient, worker: FakeWorker) -> None:
    worker.go.clear()
    now = {"Prefer": "wait=0"}
    for budget in range(3):
        files = {"model": ("net.pt2", EXPORTED)}
        data = {"budget": f"{budget + 1}MB"}
        assert client.post("/v1/plans", files=files, data=data, headers=now).status_code == 202
    assert_problem(upload(client, EXPORTED, budget="4MB"), 429, "wait already")
    assert len(worker.traced) == 3
    worker.go.set()


def test_so_many_uploads_are_traced_at_a_time() -> None:
    class Slow(FakeWorker):
        most = present = 0

        async def trace(self, model: bytes, name: str, settings: dict[str, Any]) -> str:
            self.present += 1
            self.most = max(self.most, self.present)
            await asyncio.sleep(0.02)
            self.present -= 1
            return await super().trace(model, name, settings)

    worker = Slow()
    traces = Traces(Settings(concurrent_traces=2, max_queued=3), worker)

    async def many() -> list[str | BaseException]:
        asked = (traces.trace(b"", "net.pt2", {}) for _ in range(7))
        return await asyncio.gather(*asked, return_exceptions=True)

    results = asyncio.run(many())
    assert worker.most == 2
    assert [isinstance(result, ProblemError) for result in results] == [False] * 5 + [True] * 2


def test_a_real_upload_is_called_as_its_file_and_no_place_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), file)
    worker = ChildWorker(Settings())
    good = worker.trace(file.getvalue(), "my net.pt2", {"mode": "train"})
    graph = OpGraph.from_json(asyncio.run(good))
    assert graph.name == "my net"
    assert all(axis.norms for layer in graph.layers for axis in layer.axes)  # ranked by weights
    with TestClient(create_app(Settings())) as client:
        problem = assert_problem(upload(client, EXPORTED, budget="1MB"), 422)
        assert problem["detail"].startswith("the uploaded file net.pt2: ")
        assert "/dev" not in problem["detail"]
        assert str(tmp_path) not in json.dumps(problem)
    assert [*tmp_path.iterdir()] == []


def test_a_form_without_a_file(client: TestClient) -> None:
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="budget"\r\n\r\n1MB\r\n--x--\r\n'
    assert_problem(client.post("/v1/plans", content=body, headers=form), 422, "model")


def test_a_broken_form(client: TestClient) -> None:
    form = {"Content-Type": "multipart/form-data"}
    assert_problem(client.post("/v1/plans", content=b"x", headers=form), 400)
