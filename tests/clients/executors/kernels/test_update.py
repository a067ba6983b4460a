"""Optimizers and accumulation against ``torch.optim``."""

from __future__ import annotations

import pytest
import torch

from tests.clients.executors.calls import close, execute


def _weights(count: int = 3) -> list[torch.Tensor]:
    return [torch.randn(6, 5) for _ in range(count)]


@pytest.mark.parametrize("workspace_bytes", [0, 4, 28, 4 * 30])
def test_adam_equals_torch_optim(workspace_bytes: int) -> None:
    w = torch.randn(6, 5)
    parameter = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.Adam([parameter], lr=0.02, betas=(0.8, 0.95), eps=1e-6)
    first, second = torch.zeros(6, 5), torch.zeros(6, 5)
    step = torch.zeros((), dtype=torch.int64)
    for g in _weights():
        parameter.grad = g.clone()
        optimizer.step()
        execute(
            "memplan.adam", [w, g, first, second, step, 0.02, 0.8, 0.95, 1e-6],
            mutates=[w, first, second, step], workspace_bytes=workspace_bytes,
        )  # fmt: skip
    assert int(step) == 3
    close(w, parameter.detach(), 1e-6)


def test_sgd_momentum_and_accumulation_equal_torch_optim() -> None:
    w, v = torch.randn(6, 5), torch.randn(6, 5)
    plain, heavy = torch.nn.Parameter(w.clone()), torch.nn.Parameter(v.clone())
    velocity = torch.zeros(6, 5)
    for g in _weights():
        plain.grad = heavy.grad = g
        torch.optim.SGD([plain], lr=0.1).step()
        execute("memplan.sgd", [w, g, 0.1], mutates=[w])
    optimizer = torch.optim.SGD([heavy], lr=0.1, momentum=0.7)
    for g in _weights():
        heavy.grad = g
        optimizer.step()
        execute("memplan.momentum", [v, g, velocity, 0.1, 0.7], mutates=[v, velocity])
    close(w, plain.detach(), 1e-6)
    close(v, heavy.detach(), 1e-6)
    total = torch.full((6, 5), float("nan"))
    execute("memplan.clear", [total], mutates=[total])
    parts = _weights(4)
    for g in parts:
        execute("memplan.accumulate", [total, g], mutates=[total], trips=4)
    close(total, torch.stack(parts).mean(0))
