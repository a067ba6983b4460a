"""Attempts that fail are no news: nothing of them reaches the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from memplan.tracing.loaders import load
from memplan.tracing.loaders.quiet import quietly


class Baked(nn.Module):
    """Its batch of 2 is written into its sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x).unsqueeze(0)
        return y.expand(6, 2, 4).transpose(0, 1)


def test_attempts_at_another_batch_log_no_tracebacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Baked(), (torch.randn(2, 4),)), path)
    fake = logging.getLogger("torch._subclasses.fake_tensor")
    fake.addHandler(caplog.handler)
    try:
        load(str(path))
    finally:
        fake.removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_level_comes_back() -> None:
    logger = logging.getLogger("torch")
    before = logger.level
    with quietly():
        assert logger.level == logging.CRITICAL
    assert logger.level == before
