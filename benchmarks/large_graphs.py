"""Large graphs: transformers of 12 and 24 layers, and how long the checker takes.

    python -m benchmarks.large_graphs [--only "gpt2-12;transformer-24"] [--seconds 100]

Takes an hour and a half with 100 seconds each; an interrupted run goes on where it was.

Every step is planned at parts of what it takes unplanned, once by ``memplan.solver.solve`` and once
one after the other (``benchmarks.sequential``), with the same time limit.  Lines are kept in
``build/`` as they are measured; the section of the document is written from all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.checker_times import checker_table
from benchmarks.comparison import figures
from benchmarks.large_table import Line, section
from benchmarks.machine import commit
from benchmarks.sections import write_section
from benchmarks.sequential import estimates_of, plan_sequentially
from benchmarks.split_heads import SplitHeads
from examples.bert import Bert
from examples.causal_transformer import CausalTransformer
from examples.seeding import seeded
from memplan.clients.facade import trace
from memplan.ir.baseline import baseline_bytes
from memplan.ir.graph import OpGraph, OptimizerKind
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest
from memplan.solver import prepare, solve

__all__ = ["CASES", "Case", "main", "measure"]

_VOCABULARY, _LENGTH, _WIDTH, _HEADS, _BATCH = 2000, 128, 192, 4, 8

Model = tuple[nn.Module, tuple[Tensor, ...]]


def transformer(layers: int) -> Model:
    """Our pre-norm decoder: fused attention, one operation for each activation."""
    return seeded(lambda: CausalTransformer(_VOCABULARY, _LENGTH, _WIDTH, layers, _HEADS)).eval(), (
        _tokens(),
    )


def gpt2(layers: int) -> Model:
    """The package transformers' GPT-2 from a configuration, dropout included."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=_VOCABULARY,
        n_positions=_LENGTH,
        n_embd=_WIDTH,
        n_layer=layers,
        n_head=_HEADS,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return seeded(lambda: GPT2LMHeadModel(config)), (_tokens(),)


def bert(layers: int) -> Model:
    """The encoder of examples/bert.py, with two classes."""
    return seeded(lambda: Bert(_VOCABULARY, _LENGTH, _WIDTH, layers, _HEADS, 2)).eval(), (
        _tokens(),
    )


def split_heads(layers: int, heads: int) -> Model:
    """A decoder with every head by itself: thousands of operations."""
    return seeded(lambda: SplitHeads(_VOCABULARY, _LENGTH, _WIDTH, layers, heads)), (_tokens(),)


def _tokens() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, _VOCABULARY, (_BATCH, _LENGTH), generator=generator)


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and how its step is planned."""

    model: Callable[[], Model]
    update: Literal["full", "auto"] = "full"
    optimizer: OptimizerKind = "sgd"
    #: Budgets as parts of what the step takes unplanned.
    parts: tuple[float, ...] = (0.8, 0.6, 0.5)


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "transformer-12": Case(lambda: transformer(12)),
        "transformer-24": Case(lambda: transformer(24)),
        "transformer-24, Adam": Case(lambda: transformer(24), optimizer="adam"),
        "transformer-24, mask open": Case(lambda: transformer(24), update="auto"),
        "gpt2-12": Case(lambda: gpt2(12)),
        "gpt2-12, Adam": Case(lambda: gpt2(12), optimizer="adam", parts=(0.6, 0.5)),
        "gpt2-12, mask open": Case(lambda: gpt2(12), update="auto", parts=(0.6, 0.5, 0.3)),
        "gpt2-24": Case(lambda: gpt2(24)),
        "split-12": Case(lambda: split_heads(12, 8), parts=(0.6, 0.5)),
        "split-24": Case(lambda: split_heads(24, 6), parts=(0.6, 0.5)),
        "bert-12": Case(lambda: bert(12), parts=(0.6, 0.5)),
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, and write the section."""
    options = _parser().parse_args(arguments)
    lines = _read(options.cache)
    prepare()
    for name, case in CASES.items():
        wanted = [part for part in case.parts if (name, part, options.seconds) not in lines]
        if not wanted or (options.only and name not in options.only):
            continue
        began = time.monotonic()
        module, inputs = case.model()
        graph = trace(module, inputs, optimizer=case.optimizer)
        tracing = time.monotonic() - began
        for part in wanted:
            line = measure(name, graph, case.update, part, options.seconds, options.workers)
            line = line.model_copy(update={"tracing_seconds": round(tracing, 1)})
            lines[line.key] = line
            options.cache.parent.mkdir(parents=True, exist_ok=True)
            with options.cache.open("a") as file:
                file.write(line.model_dump_json() + "\n")
            print(line, file=sys.stderr, flush=True)
    command = shlex.join(["python", "-m", "benchmarks.large_graphs", *(arguments or sys.argv[1:])])
    rows = [
        lines[name, part, options.seconds]
        for name, case in CASES.items()
        for part in case.parts
        if (name, part, options.seconds) in lines
    ]
    write_section(options.output, "large-graphs", section(rows, checker_table(), command))
    return 0


def measure(
    name: str,
    graph: OpGraph,
    update: Literal["full", "auto"],
    part: float,
    seconds: float,
    workers: int,
) -> Line:
    """Plan one step at a part of its unplanned bytes, in both ways."""
    batch = graph.traced_batch
    request = PlanRequest(
        budget_bytes=int(part * baseline_bytes(graph, batch)),
        batch=batch,
        update=update,
        time_limit_seconds=seconds,
        workers=workers,
    )
    began = time.monotonic()
    answer = solve(graph, request)
    ours = figures(answer.plan, time.monotonic() - began)
    began = time.monotonic()
    sequential = plan_sequentially(graph, request, estimates_of(graph, request, 12))
    theirs = figures(sequential, time.monotonic() - began)
    return Line(
        name=name,
        part=part,
        budget_bytes=request.budget_bytes,
        operations=len(graph.operations),
        steps=0 if answer.plan is None else len(answer.plan.body),
        sequential=theirs,
        ours=ours,
        status=answer.status,
        gaps=_gaps(answer.plan),
        seconds_limit=seconds,
        workers=workers,
        commit=commit(),
    )


def _gaps(plan: Plan | None) -> dict[str, float | None]:
    return {} if plan is None else {level.name: level.gap for level in plan.certificate.levels}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="large_graphs", description=__doc__.split("\n")[0])
    parser.add_argument("--only", type=lambda text: text.split(";"), help="names, with ; between")
    parser.add_argument("--seconds", type=float, default=100.0, help="time limit of each solve")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/large_graphs.jsonl"))
    return parser


def _read(path: Path) -> dict[tuple[str, float, float], Line]:
    if not path.is_file():
        return {}
    lines = [Line.model_validate_json(text) for text in path.read_text().splitlines() if text]
    return {line.key: line for line in lines}


if __name__ == "__main__":
    sys.exit(main())
