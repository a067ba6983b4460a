"""The contracts: OpGraph, PlanRequest, Plan, Device, and ``check(graph, plan)``.

Knows no other room; standard library and pydantic only.  ``check`` and ``require`` live in
``memplan.ir.check``.
"""

from __future__ import annotations

from memplan.ir.answer import Answer, Explanation
from memplan.ir.check import Report, Rule, Verdict, require
from memplan.ir.device import Device, Rates, Region
from memplan.ir.errors import (
    DataError,
    GraphError,
    MemplanError,
    MissingExtraError,
    ModelError,
    PlanRejectedError,
    RequestError,
)
from memplan.ir.graph import Layer, Operation, OpGraph, Tensor
from memplan.ir.plan import Buffer, Certificate, Plan, Step, Totals
from memplan.ir.request import LayerUpdate, PlanRequest
from memplan.ir.units import Affine, format_bytes, parse_bytes

__all__ = [
    "Affine",
    "Answer",
    "Buffer",
    "Certificate",
    "DataError",
    "Device",
    "Explanation",
    "GraphError",
    "Layer",
    "LayerUpdate",
    "MemplanError",
    "MissingExtraError",
    "ModelError",
    "OpGraph",
    "Operation",
    "Plan",
    "PlanRejectedError",
    "PlanRequest",
    "Rates",
    "Region",
    "Report",
    "RequestError",
    "Rule",
    "Step",
    "Tensor",
    "Totals",
    "Verdict",
    "format_bytes",
    "parse_bytes",
    "require",
]
