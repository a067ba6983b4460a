"""Which operations a model file may name, and how a name becomes a function.

Names are looked up among ATen's registered schemas; no attribute of anything is walked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from memplan.ir.errors import ModelError
from memplan.tracing.loaders.unlift import ASSERTIONS, SIZE_FUNCTIONS

__all__ = ["BLOCKS", "resolve_target"]

#: Blocks that are inlined.  All other higher-order operations are control flow.
BLOCKS: dict[str, torch._ops.HigherOrderOperator] = {
    name: getattr(torch.ops.higher_order, name)
    for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast")
}

_ATEN = re.compile(r"torch\.ops\.aten\.(?P<name>\w{1,80})\.(?P<overload>\w{1,80})", re.ASCII)
_SIZE = re.compile(r"(?:_operator|operator|torch|torch\.\w{1,80})\.(?P<name>\w{1,80})", re.ASCII)
_BLOCK = re.compile(r"torch\.ops\.higher_order\.(?P<name>\w{1,80})", re.ASCII)
_SIZE_QUERIES = frozenset({"sym_size", "sym_numel", "sym_stride", "sym_storage_offset"})
#: They read files, or swap the bytes under a tensor.
_REFUSED = frozenset({"from_file", "set_", "resize_", "resize_as_"})
#: Other libraries' kernels, which check their operands less than ATen's own.
_FOREIGN = (
    "mkldnn_",
    "fbgemm_",
    "cudnn_",
    "miopen_",
    "quantized_",
    "sparse_",
    "to_mkldnn",
    "qint_",
)
#: The internal operations that exports of ordinary models hold; others may not check operands.
_INTERNAL = frozenset({
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "_cdist_forward", "_conj", "_convolution",
    "_fused_rms_norm", "_log_softmax", "_native_batch_norm_legit",
    "_native_batch_norm_legit_functional", "_native_batch_norm_legit_no_training",
    "_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention_for_cpu",
    "_shape_as_tensor", "_softmax", "_to_copy", "_trilinear", "_unsafe_index", "_unsafe_view",
    "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_weight_norm", "_weight_norm_interface",
})  # fmt: skip


def resolve_target(text: str, where: str) -> Callable[..., Any]:
    """Return the function that a node's target names.

    Raises:
        ModelError: it is not an ATen overload on tensors, a function on sizes or a known block.
    """
    if match := _ATEN.fullmatch(text):
        return _aten(match["name"], match["overload"], where)
    if (match := _BLOCK.fullmatch(text)) is not None:
        block = BLOCKS.get(match["name"])
        if block is None:
            raise ModelError(
                f"{where}: the model uses {match['name']}, control flow that depends on data; "
                "write that part without it and export again"
            )
        return block
    if (match := _SIZE.fullmatch(text)) and match["name"] in SIZE_FUNCTIONS:
        return SIZE_FUNCTIONS[match["name"]]
    raise ModelError(
        f"{where}: cannot use the operation {text[:80]!r}; memplan knows ATen only, so write this "
        "part of the model with torch functions"
    )


def _aten(name: str, overload: str, where: str) -> Callable[..., Any]:
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    wanted = "" if overload == "default" else overload
    schema = next((known for known in schemas if known.overload_name == wanted), None)
    if schema is None:
        raise ModelError(f"{where}: ATen has no operation {name}.{overload} in this torch version")
    first_return = str(schema.returns[0].type) if schema.returns else ""
    if name not in _SIZE_QUERIES | ASSERTIONS and (
        "Tensor" not in first_return
        or name in _REFUSED
        or name.startswith(_FOREIGN)
        or (name.startswith("_") and not name.startswith("__") and name not in _INTERNAL)
    ):
        raise ModelError(
            f"{where}: aten.{name} is not supported: internal, or its result depends on data or "
            "on the system; write that part of the model without it and export again"
        )
    packet = getattr(torch.ops.aten, name)
    function: Callable[..., Any] = getattr(packet, overload)
    return function
