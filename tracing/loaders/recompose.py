"""Programs after ``run_decompositions()``: norms, dropout and buffers as they were exported.

A decomposed program is functional: what a train-mode batch norm writes to its running statistics
comes out as further results.  Settings decide later whether a norm uses its running statistics
and whether dropout is active, so both are put back into the one form that those settings are
applied to.  What is decomposed too far to be put back is refused: as written it would use the
statistics of a batch, whatever the settings say.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx

from memplan.ir.errors import ModelError
from memplan.tracing.capture_arguments import arguments_by_name, is_call

__all__ = ["recompose"]

aten = torch.ops.aten

#: Batch norms that return their statistics, too.
_NORMS = (
    "_native_batch_norm_legit_functional.default",
    "_native_batch_norm_legit.default",
    "_native_batch_norm_legit_no_training.default",
    "native_batch_norm.default",
)
#: Over the batch in every mode: there are no running statistics.
_PLAIN_NORMS = ("batch_norm.default", "_native_batch_norm_legit.no_stats")
_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"
_REMEDY = (
    "export the model in eval mode (model.eval()), or save the exported program without "
    "run_decompositions()"
)


def recompose(graph: fx.Graph, updates: Mapping[str, fx.Node], where: str) -> None:
    """Rewrite decomposed norms and dropouts of a forward graph in place.

    Args:
        graph: its output holds the user's outputs only; parameters and buffers are ``get_attr``.
        updates: buffer -> the node with its value after the run, as the program's signature
            says it; empty for a program that writes to its buffers in place.
        where: start of error messages.

    Raises:
        ModelError: a norm or a dropout is decomposed too far, or something reads the statistics
            or the mask that it computes.
    """
    written = set(updates.values())
    explained: set[fx.Node] = set()
    for node in list(graph.nodes):
        if is_call(node, *_NORMS):
            explained |= _norm(graph, node, written, where)
        elif is_call(node, "native_dropout.default"):
            _dropout(graph, node, where)
        elif "batch_norm" in _name(node) and not is_call(node, *_PLAIN_NORMS):
            raise ModelError(
                f"{where}: {node.target} is a batch norm of an unknown form; {_REMEDY}"
            )
    read = {found.target for found in _sources(graph.output_node()) if _is(found)}
    for buffer, node in updates.items():
        if node in explained or _is(node, buffer):
            continue
        if buffer.endswith(_COUNTER) and is_call(node, "add.Tensor") and not node.users:
            with graph.inserting_before(node):
                graph.call_function(aten.add_.Tensor, node.args, node.kwargs)
        elif _depends_on_inputs(node):
            raise ModelError(
                f"{where}: {node.target} computes the buffer {buffer} from the inputs, as a norm "
                f"in train mode does after run_decompositions(); {_REMEDY}"
            )
        elif buffer in read:
            raise ModelError(
                f"{where}: the outputs depend on the buffer {buffer}, which {node.target} changes "
                "from run to run; a plan cannot repeat that: export the model without it"
            )
    _refuse_written_statistics(graph, where)


def _norm(graph: fx.Graph, node: fx.Node, written: set[fx.Node], where: str) -> set[fx.Node]:
    """Put ``batch_norm`` in the place of a functional one; return the results it has no more."""
    named = arguments_by_name(node)
    with graph.inserting_before(node):
        whole = graph.call_function(
            aten.batch_norm.default,
            (
                named["input"], named["weight"], named["bias"],
                named["running_mean"], named["running_var"],
                named.get("training", False), named["momentum"], named["eps"], False,
            ),
        )  # fmt: skip
    whole.meta = dict(node.meta, is_tensor=True)
    gone: set[fx.Node] = set()
    for part, position in _parts(node, where):
        if position == 0:
            part.replace_all_uses_with(whole)
        else:
            running = named[_STATISTICS[position - 3]] if position in (3, 4) else None
            for user in list(part.users):
                # A program that was made a module again copies them into its buffers.
                if running is None or not (
                    is_call(user, "copy_.default") and running in user.args[:1] and not user.users
                ):
                    raise ModelError(
                        f"{where}: {user.target} reads the statistics that {node.target} computes; "
                        f"{_REMEDY}"
                    )
                graph.erase_node(user)
            if part in written and running is None:
                raise ModelError(
                    f"{where}: a buffer takes the batch statistics of {node.target}; {_REMEDY}"
                )
            gone.add(part)
        graph.erase_node(part)
    graph.erase_node(node)
    return gone


def _dropout(graph: fx.Graph, node: fx.Node, where: str) -> None:
    named = arguments_by_name(node)
    arguments = (named["input"], named["p"], named["train"] is not False)
    with graph.inserting_before(node):
        whole = graph.call_function(aten.dropout.default, arguments)
    whole.meta = dict(node.meta, is_tensor=True)
    for part, position in _parts(node, where):
        if position == 0:
            part.replace_all_uses_with(whole)
        elif part.users:
            raise ModelError(f"{where}: the mask of {node.target} is read; {_REMEDY}")
        graph.erase_node(part)
    graph.erase_node(node)


def _parts(node: fx.Node, where: str) -> Iterator[tuple[fx.Node, int]]:
    """Return the results of a call that has several, each with its position."""
    for user in list(node.users):
        if user.target is not operator.getitem or not isinstance(user.args[-1], int):
            raise ModelError(f"{where}: {user.target} reads all results of {node.target} at once")
        yield user, user.args[-1]


def _refuse_written_statistics(graph: fx.Graph, where: str) -> None:
    """Refuse a norm in train mode that is spelled out and writes its statistics in place."""
    for node in graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
            continue
        name = next((a.target for a in node.args[:1] if _is(a)), "")
        if str(name).rpartition(".")[2] in _STATISTICS and _depends_on_inputs(node):
            raise ModelError(
                f"{where}: {target} computes the buffer {name} from the inputs, as a norm in train "
                f"mode does that is spelled out; {_REMEDY}"
            )


def _depends_on_inputs(node: fx.Node) -> bool:
    return any(found.op == "placeholder" for found in _sources(node))


def _sources(node: fx.Node) -> set[fx.Node]:
    """Return a node and all that it is computed from."""
    seen, waiting = {node}, [node]
    while waiting:
        new = set(waiting.pop().all_input_nodes) - seen
        seen |= new
        waiting.extend(new)
    return seen


def _is(node: Any, attribute: str | None = None) -> bool:
    """Tell whether a node reads an attribute, of that name if one is given."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return False
    return attribute is None or node.target == attribute


def _name(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.") if node.op == "call_function" else ""
