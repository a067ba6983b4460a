from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from memplan.clients.cli import main


def test_listens_on_this_machine_only_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append(options))
    assert main(["serve"]) == 0
    assert main(["serve", "--host", "0.0.0.0", "--port", "9"]) == 0
    assert [(call["host"], call["port"]) for call in calls] == [("127.0.0.1", 8080), ("0.0.0.0", 9)]


def test_a_port_that_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: --host 127.0.0.1")


def test_a_store_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--store", str(tmp_path / "missing" / "answers.sqlite")]) == 2
    assert "--store" in capsys.readouterr().err
