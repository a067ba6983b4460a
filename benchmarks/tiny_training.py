"""The published sparse updates of three networks in 256 KB: their arenas, and a mask of ours.

    python -m benchmarks.tiny_training [--networks mbv2-w0.35] [--schemes 99kb,98kb,auto]

Every scheme is planned at batch 1, in int8, in the fewest bytes that are found within the time
limit, with the image resident and with its rows streamed; then memplan chooses the mask itself,
within 256 KB.  Lines are kept in ``build/`` as they are measured, so that an interrupted run goes
on where it stopped; the section of the document is written from all of them.  The command fails
where a scheme's analytic bytes are not those that it is named for, where no plan is found, or where
the mask of ours is not worth more.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.machine import commit
from benchmarks.published_schemes import NETWORKS, SCHEMES, Scheme
from benchmarks.sections import write_section
from benchmarks.smallest_arena import smallest_plan
from benchmarks.sparse_update import analytic_bytes, mask_of
from benchmarks.tiny_training_table import AUTO, Importance, Measured, Settings, section
from memplan.clients import pipeline
from memplan.ir.graph import OpGraph
from memplan.ir.importance import importance_units, total_units
from memplan.ir.request import Criterion, PlanRequest
from memplan.ir.units import parse_bytes
from memplan.solver import solve

__all__ = ["main", "scheme_importance", "trace_network"]

#: Network, scheme, criterion, whether the image is streamed.
Key = tuple[str, str, str, bool]
#: A published scheme and whether its image is streamed, or the criterion of a mask of ours.
Task = tuple[Scheme, bool] | Criterion

#: Without samples; the first is the planner's default.
CRITERIA: tuple[Criterion, ...] = ("tinytrain", "uniform")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the cache yet, write the section, print it."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(given)
    torch.set_num_threads(1)
    settings = Settings(
        seconds=options.seconds,
        seed=options.seed,
        workers=options.workers,
        budget_bytes=parse_bytes(options.budget),
    )
    known = _read(options.cache, settings)
    importance: Importance = {}
    failures = []
    for network in NETWORKS:
        wanted = [
            scheme
            for scheme in _published(network)
            if not options.schemes or scheme.name in options.schemes
        ]
        graph = trace_network(network)
        for criterion in CRITERIA:
            importance[network, criterion] = {
                scheme.name: scheme_importance(graph, scheme, _request(settings, criterion))
                for scheme in _published(network)
            }
        if options.networks and network not in options.networks:
            continue
        streaming = trace_network(network, streamed=True)
        tasks: list[Task] = [(scheme, image) for scheme in wanted for image in (False, True)]
        if not options.schemes or AUTO in options.schemes:
            tasks += CRITERIA
        for task in tasks:
            key: Key
            if isinstance(task, tuple):
                key = (network, task[0].name, "", task[1])
            else:
                key = (network, AUTO, task, False)
            traced = streaming if key[3] else graph
            row = known.get(key)
            if row is None or row.graph_hash != traced.content_hash():
                row = known[key] = _measure(network, traced, task, settings)
                options.cache.parent.mkdir(parents=True, exist_ok=True)
                with options.cache.open("a") as file:
                    file.write(row.model_dump_json() + "\n")
            failures += _faults(row, importance, known)
    text = section(
        list(known.values()),
        importance,
        settings,
        shlex.join(["python", "-m", "benchmarks.tiny_training", *given]),
    )
    write_section(options.output, "tiny-training", text)
    print(text)
    for failure in failures:
        _tell(failure)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(prog="tiny_training", description=__doc__.split("\n")[0])
    parser.add_argument("--networks", type=names, help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--schemes", type=names, help=f"published names, and {AUTO}")
    parser.add_argument("--seconds", type=float, default=25.0, help="time limit of each row")
    parser.add_argument("--budget", default="256KB", help="of the mask that memplan chooses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/tiny_training.jsonl"))
    return parser


def trace_network(network: str, *, streamed: bool = False) -> OpGraph:
    """Return the int8 graph of one training step at batch 1, with ranked channels.

    Args:
        network: one of ``NETWORKS``.
        streamed: whether the rows of the image may come from the program.
    """
    model = pipeline.load_model(NETWORKS[network])
    options = pipeline.GraphOptions(quantize="int8", input_streamed=streamed or None)
    return pipeline.rank_channels(pipeline.trace_model(model, options, 1), model)


def scheme_importance(graph: OpGraph, scheme: Scheme, request: PlanRequest) -> int:
    """Return the importance of a published mask, in the units of a plan's totals."""
    return sum(importance_units(graph, request, mask_of(graph, scheme)).values())


def _published(network: str) -> list[Scheme]:
    return [scheme for scheme in SCHEMES if scheme.network == network]


def _request(settings: Settings, criterion: Criterion = CRITERIA[0]) -> PlanRequest:
    return PlanRequest(
        budget_bytes=settings.budget_bytes,
        batch=1,
        criterion=criterion,
        time_limit_seconds=settings.seconds,
        seed=settings.seed,
        workers=settings.workers,
    )


def _measure(network: str, graph: OpGraph, task: Task, settings: Settings) -> Measured:
    """Return the smallest plan of a scheme, or a plan whose mask is chosen by a criterion."""
    began = time.monotonic()
    row = Measured(
        network=network,
        scheme=task[0].name if isinstance(task, tuple) else AUTO,
        streamed=isinstance(task, tuple) and task[1],
        graph_hash=graph.content_hash(),
        arena_bytes=None,
        lower_bound_bytes=0,
        solve_seconds=0.0,
        settings=settings,
        commit=commit(),
    )
    if isinstance(task, tuple):
        scheme, _ = task
        asked = _request(settings).model_copy(update={"update": mask_of(graph, scheme)})
        found = smallest_plan(
            graph, asked, settings.seconds, lambda said: _tell(f"{network} {scheme.name}: {said}")
        )
        plan, bound = found.plan, found.lower_bound_bytes
        row = row.model_copy(update={"analytic_bytes": analytic_bytes(graph, scheme).total})
    else:
        request = _request(settings, task)
        answer = solve(graph, request)
        plan, bound = answer.plan, answer.lower_bound_bytes
        row = row.model_copy(
            update={"criterion": task, "importance_total": total_units(graph, request)}
        )
    figures: dict[str, object] = {"lower_bound_bytes": bound}
    if plan is not None:
        figures |= {
            "arena_bytes": plan.totals.arena_bytes,
            "parameter_bytes": plan.totals.persistent_bytes,
            "time_ns": plan.totals.time_ns,
            "importance": 0 if isinstance(task, tuple) else plan.totals.importance,
        }
    figures["solve_seconds"] = round(time.monotonic() - began, 1)
    row = row.model_copy(update=figures)
    image = " streamed" if row.streamed else ""
    what = f"{network} {row.scheme}{image} {row.criterion}".strip()
    _tell(f"{what}: arena {row.arena_bytes}, bound {bound}")
    return row


def _faults(row: Measured, importance: Importance, known: dict[Key, Measured]) -> list[str]:
    """Return what of a row is not as it has to be."""
    where = f"{row.network} {row.scheme} {row.criterion}".strip()
    if row.arena_bytes is None:
        return [f"{where}: no plan was found"]
    if row.scheme != AUTO:
        named = int(row.scheme.removesuffix("kb"))
        counted = row.analytic_bytes // 1024
        return [] if counted == named else [f"{where}: the analytic rule gives {counted} KB"]
    return [
        f"{where}: importance {row.importance}, scheme {name} has {units}"
        for name, units in importance[row.network, row.criterion].items()
        if units >= row.importance
        and ((rival := known.get((row.network, name, "", False))) is None or _fits(rival))
    ]


def _fits(row: Measured) -> bool:
    return row.arena_bytes is not None and row.arena_bytes <= row.settings.budget_bytes


def _read(path: Path, settings: Settings) -> dict[Key, Measured]:
    """Return the last lines of the cache that were measured with the same settings."""
    if not path.is_file():
        return {}
    lines = [Measured.model_validate_json(line) for line in path.read_text().splitlines() if line]
    return {
        (line.network, line.scheme, line.criterion, line.streamed): line
        for line in lines
        if line.settings == settings
    }


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
