"""plan.h and plan.c: a plan as C that an engineer can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memplan.clients.export.c.binding import Binder, chosen_alternative, is_streamed
from memplan.clients.export.c.call import UnsupportedError
from memplan.clients.export.c.calls import statements
from memplan.clients.export.c.code import Code, wrapped
from memplan.clients.export.c.lifetimes import dying_ranges, unshared_offsets
from memplan.clients.export.c.names import Names, quoted
from memplan.clients.export.c.streams import stream_table, streamed_inputs
from memplan.clients.export.c.unsupported import Unsupported, refusal
from memplan.clients.export.c.views import active_slice
from memplan.clients.export.c.weights_source import Constants
from memplan.ir.errors import DataError, ModelError
from memplan.ir.graph import OpGraph, Tensor
from memplan.ir.plan import Buffer, Plan, Step
from memplan.ir.units import format_bytes

__all__ = ["PlanSource", "input_names", "write_plan"]

_SECTIONS = ("prologue", "body", "epilogue")


@dataclass(frozen=True, slots=True)
class PlanSource:
    """The sources of a plan.

    Attributes:
        header: plan.h.
        unshared_header: plan_unshared.h: the same plan with every buffer at bytes of its own.
        source: plan.c.
        kernels: names of the kernels that it calls.
        constants: what goes into weights.c.
        input_ids: graph tensors behind ``memplan_inputs``, then ``memplan_streams``, in order.
        parameter_ids: those behind ``memplan_parameters``.
        output_ids: those behind ``memplan_outputs``.
    """

    header: str
    unshared_header: str
    source: str
    kernels: frozenset[str]
    constants: Constants
    input_ids: tuple[str, ...]
    parameter_ids: tuple[str, ...]
    output_ids: tuple[str, ...]


def write_plan(graph: OpGraph, plan: Plan, values: Mapping[str, bytes]) -> PlanSource:
    """Return a plan as C.

    Args:
        graph: what the plan is for.
        plan: a plan that ``check`` accepts.
        values: by tensor id the bytes of parameters, state and constants before the first step,
            whole, in their own strides; of partly updated ones also, under ``<id>#slice``, the
            updated channels.

    Raises:
        ModelError: operations have no kernel, or the plan lies in several regions.
        DataError: a value is missing.
    """
    return _Writer(graph, plan, values).write()


def input_names(graph: OpGraph, plan: Plan) -> tuple[str, ...]:
    """Return the inputs and labels of ``memplan_inputs``, then ``memplan_streams``, in order."""
    buffers = tuple(
        buffer.tensor
        for buffer in plan.buffers
        if buffer.tensor is not None and graph.tensor[buffer.tensor].role in ("input", "label")
    )
    return buffers + streamed_inputs(graph, plan)


class _Writer:
    def __init__(self, graph: OpGraph, plan: Plan, values: Mapping[str, bytes]) -> None:
        regions = sorted({buffer.region for buffer in plan.buffers})
        if len(regions) > 1:
            raise ModelError(
                f"the plan lies in {len(regions)} regions ({', '.join(regions)}), C code in one "
                "arena; plan for a device with one region of RAM"
            )
        self._graph, self._plan, self._values = graph, plan, values
        self._constants = Constants()
        self._code = Code(streamed_inputs(graph, plan))
        self._buffer_names = _name_buffers(plan)
        self._functions: dict[tuple[str, ...], str] = {}
        self._definitions: list[str] = []
        self._function_names = Names()

    def write(self) -> PlanSource:
        plan = self._plan
        binder = Binder(self._graph, plan, self._buffer_names, self._frozen_name)
        runs, missing = [], []
        for step in plan.steps:
            try:
                runs.append(self._function(step, statements(binder.call(step), self._code)))
            except UnsupportedError as reason:
                operation, alternative = chosen_alternative(self._graph, step)
                missing.append(
                    Unsupported(operation.id, operation.layer, alternative.target, str(reason))
                )
        if missing:
            raise refusal(missing)
        persistent, inputs, outputs = self._tensors()
        tables = self._tables(runs) + self._tensor_tables(persistent, inputs, outputs)
        source = "\n".join(
            [
                f"/* The steps of a plan for {_comment(self._graph.name)}; see plan.h. */",
                "#ifdef MEMPLAN_UNSHARED",
                '#include "plan_unshared.h"',
                "#else",
                '#include "plan.h"',
                "#endif",
                '#include "weights.h"',
                "",
                *(f'#include "kernels/{kernel}.h"' for kernel in sorted(self._code.kernels)),
                "",
                "/* A place in the arena. */",
                "#define AT(type, offset) ((type *)(void *)(memplan_arena + (offset)))",
                "/* The samples of this trip in a batch that is there as a whole. */",
                "#define AT_TRIP(type, offset, bytes) "
                "AT(type, (offset) + memplan_trip * (uint32_t)(bytes))",
                "",
                "/* How operations go over their operands. */",
                *self._code.definitions,
                "",
                *self._definitions,
                *tables,
                "",
            ]
        )
        offsets = {buffer.id: buffer.offset for buffer in plan.buffers}
        unshared, unshared_bytes = unshared_offsets(plan)
        return PlanSource(
            header=self._header(offsets, plan.totals.arena_bytes, shared=True),
            unshared_header=self._header(unshared, unshared_bytes, shared=False),
            source=source,
            kernels=frozenset(self._code.kernels),
            constants=self._constants,
            input_ids=input_names(self._graph, plan),
            parameter_ids=tuple(buffer.tensor or "" for buffer in persistent),
            output_ids=tuple(buffer.tensor or "" for buffer in outputs),
        )

    def _function(self, step: Step, lines: list[str]) -> str:
        """Return the name of the function with this body; equal steps share one."""
        key = tuple(lines)
        if key not in self._functions:
            name = self._function_names.new(f"step_{step.operation}")
            self._functions[key] = name
            operation, alternative = chosen_alternative(self._graph, step)
            about = alternative.target
            if operation.layer is not None:
                about += f", layer {operation.layer}"
            self._definitions += [
                f"/* {_comment(about)} */",
                f"static void {name}(void) {{",
                *(part for line in lines for part in wrapped("    " + line)),
                "}",
                "",
            ]
        return self._functions[key]

    def _frozen_name(self, tensor: str) -> str:
        return self._constant(tensor, f"frozen_{tensor}", "frozen")

    def _constant(self, key: str, hint: str, what: str) -> str:
        name = key.removesuffix("#slice")
        if key not in self._values:
            raise DataError(
                f"weights: {name!r} is missing; give the weights of this graph's model "
                "(plan --weights-out writes them)"
            )
        tensor = self._graph.tensor[name]
        shape = ", ".join(str(size.at(self._plan.micro_batch)) for size in tensor.shape)
        comment = _comment(f"{what} {name} ({shape})")
        return self._constants.name(key, hint, tensor.dtype, self._values[key], comment)

    # Tables.

    def _tables(self, runs: Sequence[str]) -> list[str]:
        plan = self._plan
        dying = dying_ranges(plan)
        lines = ["/* What each step reads and writes, and whose bytes are free behind it. */"]
        rows: list[str] = []
        known: dict[str, str] = {}

        def table(ranges: Sequence[str]) -> str:
            if not ranges:
                return "NULL"
            text = ", ".join(ranges)
            if text not in known:
                known[text] = f"ranges_{len(known)}"
                lines.extend(
                    wrapped(f"static const struct memplan_range {known[text]}[] = {{{text}}};")
                )
            return known[text]

        for number, (step, run) in enumerate(zip(plan.steps, runs, strict=True)):
            reads = self._ranges(b for b in step.reads if b is not None)
            work = () if step.workspace is None else (step.workspace,)
            _, alternative = chosen_alternative(self._graph, step)
            spent = () if alternative.uses_up is None else (step.reads[alternative.uses_up],)
            writes = self._ranges(
                b for b in (*step.writes, *step.mutates, *work, *spent) if b is not None
            )
            dies = [f"{{{offset}u, {size}u}}" for offset, size in dying.get(number, [])]
            dead = "NULL, 0" if not dies else f"SHARED({table(dies)}, {len(dies)})"
            rows.append(
                f"    {{{run}, {quoted(step.operation)}, {table(reads)}, {table(writes)}, "
                f"{len(reads)}, {len(writes)}, {dead}}},"
            )
        lines = [
            "/* In the layout without sharing nothing dies: no bytes are used twice. */",
            "#ifdef MEMPLAN_UNSHARED",
            "#define SHARED(ranges, count) NULL, 0 * sizeof(ranges)",
            "#else",
            "#define SHARED(ranges, count) ranges, count",
            "#endif",
            *lines,
            "",
        ]
        start = 0
        for section in _SECTIONS:
            count = len(getattr(plan, section))
            part = rows[start : start + count]
            start += count
            if part:
                lines += [f"static const struct memplan_step {section}[] = {{", *part, "};"]
            steps = section if part else "NULL"
            lines.append(f"const struct memplan_section memplan_{section} = {{{steps}, {count}}};")
        return [*lines, f"const uint32_t memplan_trips = {plan.trips};", ""]

    def _ranges(self, buffers: Iterable[int]) -> list[str]:
        names = [self._buffer_names[number] for number in buffers]
        return [f"{{{name}, {_bytes(name)}}}" for name in dict.fromkeys(names)]

    def _tensors(self) -> tuple[list[Buffer], list[Buffer], list[Buffer]]:
        """Return buffers of parameters and their state, of inputs and labels, and of outputs."""
        plan, graph = self._plan, self._graph
        end = len(plan.prologue) + len(plan.body)
        persistent, inputs, outputs = [], [], []
        for buffer in plan.buffers:
            if buffer.tensor is None:
                continue
            role = graph.tensor[buffer.tensor].role
            if role in ("parameter", "state"):
                persistent.append(buffer)
            elif role in ("input", "label"):
                inputs.append(buffer)
            if buffer.tensor in graph.outputs and buffer.end_step >= end:
                outputs.append(buffer)
        outputs.sort(key=lambda buffer: graph.outputs.index(buffer.tensor or ""))
        return persistent, inputs, outputs

    def _tensor_tables(
        self, persistent: list[Buffer], inputs: list[Buffer], outputs: list[Buffer]
    ) -> list[str]:
        lines: list[str] = []
        for what, buffers, initial in (
            ("parameter", persistent, self._initial),
            ("input", inputs, _nothing),
            ("output", outputs, _nothing),
        ):
            rows = [
                f"    {{{quoted(buffer.tensor or '')}, {{{name}, {_bytes(name)}}}, "
                f"{initial(self._graph.tensor[buffer.tensor or ''])}}},"
                for buffer in buffers
                for name in [self._buffer_names[buffer.id]]
            ]
            rows = rows or ['    {"", {0, 0}, NULL},']  # C has no empty arrays
            lines += [f"const struct memplan_tensor memplan_{what}s[] = {{", *rows, "};"]
            lines.append(f"const uint32_t memplan_{what}_count = {len(buffers)};")
        lines += stream_table(self._graph, self._code.streams)
        return [*lines, "const uint32_t memplan_arena_bytes = MEMPLAN_ARENA_BYTES;"]

    def _initial(self, tensor: Tensor) -> str:
        if tensor.source is not None and tensor.source.kind == "zeros":
            return "NULL"
        update = self._plan.update_of.get(tensor.layer) if tensor.layer else None
        if active_slice(tensor, update) is not None:
            return self._constant(f"{tensor.id}#slice", f"first_{tensor.id}", "updated part of")
        return self._constant(tensor.id, f"first_{tensor.id}", "first value of")

    # The header.

    def _header(self, offsets: Mapping[int, int], arena_bytes: int, *, shared: bool) -> str:
        plan, graph = self._plan, self._graph
        guard = "PLAN_H" if shared else "PLAN_UNSHARED_H"
        lines = [
            f"/* A plan for {_comment(graph.name)}: {_what(graph, plan)}.",
            " *",
            f" * {_shared_note(plan) if shared else _UNSHARED_NOTE}",
            " */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            '#include "memplan.h"',
            "",
            f"#define MEMPLAN_ARENA_BYTES {arena_bytes}u",
            "/* Whether the first output is the loss. */",
            f"#define MEMPLAN_TRAINS {int(graph.mode == 'train')}",
            "",
            "/* Where each buffer lies in the arena, its size, and the steps [from, to) that it",
            " * lives for; steps are numbered as below. */",
        ]
        width = max((len(name) for name in self._buffer_names.values()), default=0)
        for buffer in sorted(plan.buffers, key=lambda b: (b.start_step, b.offset)):
            name = self._buffer_names[buffer.id]
            lines.append(
                f"#define {name:{width}} {offsets[buffer.id]:>9}u"
                f"  /* {buffer.start_step} to {buffer.end_step}, {_owner(graph, plan, buffer)} */"
            )
            lines.append(f"#define {_bytes(name):{width}} {buffer.size_bytes:>9}u")
        if shared:
            lines += ["", *self._operation_list()]
        return "\n".join([*lines, "", "#endif", ""])

    def _short(self, buffer: int) -> str:
        return self._buffer_names[buffer].removeprefix("OFFSET_")

    def _operation_list(self) -> list[str]:
        """Return the steps as a comment: what runs, what it reads and what it writes."""
        plan = self._plan
        lines = [
            "/* The steps, each with the buffers that it reads and those that it writes.",
            " *",
        ]
        number = 0
        for section in _SECTIONS:
            steps = getattr(plan, section)
            if not steps:
                continue
            times = f", {plan.trips} times" if section == "body" and plan.trips > 1 else ""
            lines.append(f" * {section}{times}:")
            for step in steps:
                operation, alternative = chosen_alternative(self._graph, step)
                again = f" again ({step.computation})" if step.computation else ""
                lines.append(
                    f" * {number:4}  {_comment(operation.id)}{again}: "
                    f"{_comment(alternative.target)}"
                )
                reads = [
                    f"constant {_comment(operand.tensor)}"
                    if buffer is None
                    else self._short(buffer)
                    for operand, buffer in zip(alternative.reads, step.reads, strict=True)
                ]
                writes = [self._short(b) for b in (*step.writes, *step.mutates)]
                text = f"{', '.join(dict.fromkeys(reads)) or '-'} -> {', '.join(writes)}"
                if step.workspace is not None:
                    text += f", workspace {self._short(step.workspace)}"
                lines.append(f" *         {text}")
                number += 1
        return [*lines, " */"]


_UNSHARED_NOTE = (
    "Every buffer has bytes of its own here.  A run in this layout must give the same bits as\n"
    " * one in the planned layout; if not, the plan lets two tensors share bytes too early."
)


def _name_buffers(plan: Plan) -> dict[int, str]:
    names = Names()
    found = {}
    for buffer in plan.buffers:
        computation = f"_{buffer.computation}" if buffer.computation else ""
        base = "workspace" if buffer.tensor is None else buffer.tensor
        found[buffer.id] = f"OFFSET_{names.new(base + computation).upper()}"
    return found


def _bytes(offset_name: str) -> str:
    return "BYTES" + offset_name.removeprefix("OFFSET")


def _owner(graph: OpGraph, plan: Plan, buffer: Buffer) -> str:
    if buffer.tensor is None:
        return "workspace"
    tensor = graph.tensor[buffer.tensor]
    about: str = tensor.role
    if buffer.scope == "persistent":
        about += ", always there"
    elif buffer.scope == "batch" and plan.trips > 1:
        about += ", for the whole batch"
    elif tensor.role in ("input", "label") and is_streamed(plan, buffer):
        about += ", loaded at the start of each trip"
    return about


def _what(graph: OpGraph, plan: Plan) -> str:
    kind = "one training step" if graph.mode == "train" else "one inference"
    trips = "" if plan.trips == 1 else f" in {plan.trips} trips of {plan.micro_batch}"
    return f"{kind} of a batch of {plan.batch}{trips}"


def _shared_note(plan: Plan) -> str:
    return (
        f"Its arena is {format_bytes(plan.totals.arena_bytes)}; "
        f"{format_bytes(plan.totals.frozen_bytes)} of frozen weights are constants."
    )


def _comment(text: str) -> str:
    """Return text that cannot end a comment."""
    return (
        "".join(c if " " <= c <= "~" else "?" for c in text).replace("*/", "*_").replace("/*", "_*")
    )


def _nothing(tensor: Tensor) -> str:
    del tensor
    return "NULL"
