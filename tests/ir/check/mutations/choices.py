"""Plans with a batch, mask or set of operations that may not be."""

from __future__ import annotations

from collections.abc import Iterator

from memplan.ir.check import Rule
from memplan.ir.graph import Alternative, Operand
from memplan.ir.plan import Plan, Step
from memplan.ir.request import LayerUpdate
from tests.ir.check.bases import (
    Case,
    drop_step,
    insert_step,
    steps_of,
    with_buffer,
    with_request,
    with_step,
)
from tests.ir.check.mutations.registry import mutation
from tests.support.naive_plan import naive_plan, plain_body, with_recomputation

# Batch and micro-batch.


@mutation(Rule.REQUEST)
def batch_is_not_the_requested(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"batch": 2 * case.plan.batch})
    yield with_request(case.plan, batch=2 * case.plan.batch)


@mutation(Rule.REQUEST)
def batch_of_a_fixed_graph(case: Case) -> Iterator[Plan]:
    if not case.graph.batch_symbolic:
        plan = with_request(case.plan, batch=3)
        yield plan.model_copy(update={"batch": 3, "micro_batch": 3})


@mutation(Rule.MICRO_BATCH)
def wrong_number_of_trips(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"trips": case.plan.trips + 1})
    if case.plan.trips > 2:
        yield case.plan.model_copy(update={"trips": case.plan.trips - 1})


@mutation(Rule.MICRO_BATCH)
def wrong_micro_batch(case: Case) -> Iterator[Plan]:
    yield case.plan.model_copy(update={"micro_batch": case.plan.micro_batch + 1})


@mutation(Rule.MICRO_BATCH, alone=True)
def micro_batch_is_not_the_requested(case: Case) -> Iterator[Plan]:
    for other in (1, 2, 3, 4):
        if case.plan.batch % other == 0 and other != case.plan.micro_batch:
            yield with_request(case.plan, micro_batch=other)


@mutation(Rule.MICRO_BATCH)
def micro_batches_of_coupled_samples(case: Case) -> Iterator[Plan]:
    if case.graph.batch_coupled_by:
        half = case.plan.batch // 2
        yield case.plan.model_copy(update={"micro_batch": half, "trips": 2})


# Mask and alternatives.


@mutation(Rule.MASK)
def mask_against_the_request(case: Case) -> Iterator[Plan]:
    if case.plan.mask:
        update = case.plan.mask[0]
        other = (
            update.model_copy(update={"channels": (update.channels[0],)})
            if update.channels
            else LayerUpdate(layer=update.layer, bias=not update.bias, weight="whole")
        )
        yield case.plan.model_copy(update={"mask": (other, *case.plan.mask[1:])})
        yield with_request(case.plan, update=(other,))


@mutation(Rule.MASK)
def layer_left_out_of_a_full_update(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "full" and len(case.plan.mask) > 1:
        yield naive_plan(case.graph, case.plan.request, mask=case.plan.mask[1:])


@mutation(Rule.MASK)
def layer_twice_in_the_mask(case: Case) -> Iterator[Plan]:
    if case.plan.mask:
        yield case.plan.model_copy(update={"mask": (*case.plan.mask, case.plan.mask[0])})


@mutation(Rule.MASK)
def unknown_layer_in_the_mask(case: Case) -> Iterator[Plan]:
    ghost = LayerUpdate(layer="ghost", weight="whole")
    yield case.plan.model_copy(update={"mask": (*case.plan.mask, ghost)})


@mutation(Rule.MASK)
def nothing_updated_in_training(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "auto" and case.graph.mode == "train":
        yield naive_plan(case.graph, case.plan.request, mask=())


@mutation(Rule.MASK)
def request_contradicts_the_graph(case: Case) -> Iterator[Plan]:
    if case.graph.mode == "train":
        ghost = LayerUpdate(layer="ghost", weight="whole")
        yield with_request(case.plan, update=(ghost,))


@mutation(Rule.ALTERNATIVE)
def alternative_of_another_axis(case: Case) -> Iterator[Plan]:
    if case.name == "sliced":
        body = [
            (name, "plain" if name == "linear2.weight_gradient" else way)
            for name, way in ((s.operation, s.alternative) for s in case.plan.body)
        ]
        yield naive_plan(case.graph, case.plan.request, micro_batch=2, body=body)


# What runs, where and how often.


@mutation(Rule.PHASE)
def update_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.trips > 1 and case.graph.mode == "train":
        body = [
            (name.replace("accumulate.", "update."), way)
            for name, way in ((s.operation, s.alternative) for s in case.plan.body)
        ]
        yield naive_plan(
            case.graph,
            case.plan.request,
            mask=case.plan.mask,
            micro_batch=case.plan.micro_batch,
            body=body,
        )


@mutation(Rule.PHASE)
def clearing_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.prologue:
        plan = case.plan
        yield plan.model_copy(
            update={"prologue": plan.prologue[:-1], "body": (plan.prologue[-1], *plan.body)}
        )


@mutation(Rule.PHASE)
def applying_inside_the_loop(case: Case) -> Iterator[Plan]:
    if case.plan.epilogue:
        plan = case.plan
        yield plan.model_copy(
            update={"epilogue": plan.epilogue[1:], "body": (*plan.body, plan.epilogue[0])}
        )


@mutation(Rule.UPDATE)
def update_left_out(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "update", "accumulate", "apply", "clear"):
        yield drop_step(case.plan, index)


@mutation(Rule.UPDATE)
def update_twice(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "update", "accumulate"):
        step = case.plan.steps[index]
        again = step.model_copy(update={"computation": 1})
        yield insert_step(case.plan, index + 1, again)


@mutation(Rule.UPDATE)
def update_beside_the_block_that_covers_it(case: Case) -> Iterator[Plan]:
    """Add the covered update by itself, with a gradient of its own."""
    for step in case.plan.steps:
        covers = _alternative(case, step).covers
        if covers:
            body = [(each.operation, each.alternative) for each in case.plan.body]
            names = [name for name, _ in body]
            gradient = next(o.tensor for o in _operands(case, covers[-1]) if "g." in o.tensor)
            more = [("widen", "plain"), (case.graph.producer[gradient].id, "plain")]
            more.append((covers[-1], "plain"))
            place = names.index(step.operation)
            for at in (place, place + 1, len(body)):
                yield naive_plan(
                    case.graph,
                    case.plan.request,
                    mask=case.plan.mask,
                    micro_batch=case.plan.micro_batch,
                    body=[*body[:at], *more, *body[at:]],
                )


@mutation(Rule.UPDATE)
def block_taken_apart(case: Case) -> Iterator[Plan]:
    """Execute the plain alternative where the block's covered two updates."""
    for step in case.plan.steps:
        if case.plan.trips > 1 and _alternative(case, step).covers:
            body = [(each.operation, each.alternative) for each in case.plan.body]
            place = next(i for i, (name, _) in enumerate(body) if name == step.operation)
            body[place : place + 1] = [("widen", "plain"), (step.operation, "plain")]
            yield naive_plan(
                case.graph,
                case.plan.request,
                mask=case.plan.mask,
                micro_batch=case.plan.micro_batch,
                body=body,
            )


@mutation(Rule.ALTERNATIVE)
def block_that_updates_a_frozen_parameter(case: Case) -> Iterator[Plan]:
    if any(_alternative(case, step).covers for step in case.plan.steps):
        body = [(step.operation, step.alternative) for step in case.plan.body]
        mask = tuple(
            update.model_copy(update={"bias": False}) if update.layer == "l1" else update
            for update in case.plan.mask
        )
        yield naive_plan(
            case.graph,
            case.plan.request.model_copy(update={"update": mask}),
            mask=mask,
            micro_batch=case.plan.micro_batch,
            body=body,
        )


@mutation(Rule.PHASE)
def block_of_the_other_phase(case: Case) -> Iterator[Plan]:
    for step in case.plan.steps:
        if case.plan.trips > 1 and _alternative(case, step).covers:
            body = [(each.operation, each.alternative) for each in case.plan.body]
            place = next(i for i, (name, _) in enumerate(body) if name == step.operation)
            body[place] = (step.operation, "strips_update")
            yield naive_plan(
                case.graph,
                case.plan.request,
                mask=case.plan.mask,
                micro_batch=case.plan.micro_batch,
                body=body,
            )


def _alternative(case: Case, step: Step) -> Alternative:
    ways = case.graph.operation[step.operation].alternatives
    return next(way for way in ways if way.name == step.alternative)


def _operands(case: Case, operation: str) -> tuple[Operand, ...]:
    return case.graph.operation[operation].alternatives[0].reads


@mutation(Rule.UPDATE)
def update_of_a_frozen_parameter(case: Case) -> Iterator[Plan]:
    if case.plan.request.update == "auto" and len(case.plan.mask) > 1:
        body = [(step.operation, step.alternative) for step in case.plan.body]
        yield naive_plan(
            case.graph,
            case.plan.request,
            mask=case.plan.mask[:1],
            micro_batch=case.plan.micro_batch,
            body=body,
        )


@mutation(Rule.STATISTICS)
def statistics_left_out(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "statistics"):
        yield drop_step(case.plan, index)


@mutation(Rule.STATISTICS)
def statistics_twice(case: Case) -> Iterator[Plan]:
    for index in steps_of(case, "statistics"):
        again = case.plan.steps[index].model_copy(update={"computation": 1})
        yield insert_step(case.plan, index + 1, again)


@mutation(Rule.COMPUTATION)
def computations_miscounted(case: Case) -> Iterator[Plan]:
    for index, step in enumerate(case.plan.steps):
        yield with_step(case.plan, index, computation=step.computation + 1)


@mutation(Rule.COMPUTATION)
def buffer_of_another_computation(case: Case) -> Iterator[Plan]:
    for buffer in case.plan.buffers:
        yield with_buffer(case.plan, buffer.id, computation=buffer.computation + 1)


@mutation(Rule.COMPUTATION, alone=True)
def backward_recomputed(case: Case) -> Iterator[Plan]:
    if case.plan.trips == 1 and not case.plan.totals.recomputed_operations:
        for index in steps_of(case, "backward"):
            name = case.plan.steps[index].operation
            body = plain_body(case.graph, case.plan.update_of, 1)
            after = body[min(body.index((name, "plain")) + 1, len(body) - 1)][0]
            request = case.plan.request.model_copy(update={"compute_limit": None})
            if after != name:
                yield naive_plan(
                    case.graph, request, case.plan.mask, body=with_recomputation(body, name, after)
                )
