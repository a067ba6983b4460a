"""JSON Schema of every document.  ``python -m memplan.ir.schema DIR`` writes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from memplan.ir.answer import Answer
from memplan.ir.base import Document
from memplan.ir.device import Device
from memplan.ir.frontier import Frontier
from memplan.ir.graph import OpGraph
from memplan.ir.plan import Plan
from memplan.ir.request import PlanRequest

__all__ = ["DOCUMENTS", "json_schema", "write_schemas"]

DOCUMENTS: dict[str, type[Document]] = {
    "graph": OpGraph,
    "request": PlanRequest,
    "plan": Plan,
    "device": Device,
    "answer": Answer,
    "frontier": Frontier,
}


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document by its short name."""
    schema = DOCUMENTS[name].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_schemas(folder: Path) -> list[Path]:
    """Write ``<name>.schema.json`` for every document and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in DOCUMENTS:
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(json_schema(name), indent=1, sort_keys=True) + "\n")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schema")):
        print(written)
