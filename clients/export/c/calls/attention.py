"""Scaled dot-product attention and its gradient."""

from __future__ import annotations

from memplan.clients.export.c.call import Call, UnsupportedError, floats, whole
from memplan.clients.export.c.code import Code, number
from memplan.clients.export.c.loops import broadcast_strides
from memplan.clients.export.c.names import identifier
from memplan.clients.export.c.views import View

__all__ = ["attention", "attention_backward"]


def attention(call: Call, code: Code) -> list[str]:
    """``aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, dropout, causal)``."""
    query, key, value = call.arguments[:3]
    output, sums = call.writes
    operands = {"query": query, "key": key, "value": value, "output": output, "sums": sums}
    geometry = _geometry(call, code, operands, call.arguments[3:])
    return [
        f"memplan_attention({geometry}, {query.pointer}, {key.pointer}, {value.pointer}, "
        f"{_mask(call)}, {output.pointer}, {sums.pointer});"
    ]


def attention_backward(call: Call, code: Code) -> list[str]:
    """``aten._scaled_dot_product_flash_attention_for_cpu_backward(gy, q, k, v, y, sums, ...)``."""
    gradient, query, key, value, output, sums = call.arguments[:6]
    results = call.writes
    if len(results) != 3:
        raise UnsupportedError(f"{len(results)} of three gradients")
    operands = {
        "query": query, "key": key, "value": value, "output": output, "sums": sums,
        "output_gradient": gradient, "query_gradient": results[0], "key_gradient": results[1],
        "value_gradient": results[2],
    }  # fmt: skip
    geometry = _geometry(call, code, operands, call.arguments[6:])
    read = ", ".join(view.pointer for view in (gradient, query, key, value))
    rest = ", ".join(view.pointer for view in (output, sums, *results))
    return [f"memplan_attention_gradient({geometry}, {read}, {_mask(call)}, {rest});"]


def _mask(call: Call) -> str:
    mask = call.keywords.get("attn_mask")
    return "NULL" if mask is None else str(mask.pointer)


def _geometry(call: Call, code: Code, operands: dict[str, View], rest: tuple[object, ...]) -> str:
    dropout, causal = (*rest, *(0.0, False)[len(rest) :])[:2]
    if dropout:
        raise UnsupportedError("attention with dropout")
    mask = call.keywords.get("attn_mask")
    floats(mask, *operands.values())
    whole(mask, *operands.values())
    query, key, value = operands["query"], operands["key"], operands["value"]
    strides = {name: (*view.strides, 0)[:4] for name, view in operands.items()}
    if mask is not None:
        strides["mask"] = broadcast_strides(mask, (*query.shape[:3], key.shape[2]))
    scale = call.keywords.get("scale")
    code.use("attention")
    return code.struct(
        "memplan_attention",
        f"{identifier(call.operation)}_geometry",
        {
            "samples": query.shape[0], "heads": query.shape[1],
            "queries": query.shape[2], "keys": key.shape[2],
            "width": query.shape[3], "value_width": value.shape[3],
            "causal": int(bool(causal)),
            "scale": number(query.shape[3] ** -0.5 if scale is None else scale),
            **strides,
        },
    )  # fmt: skip
