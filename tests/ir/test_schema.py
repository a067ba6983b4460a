"""The JSON Schemas in docs/ are those of the code, and say what the models enforce."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memplan.ir.schema import DOCUMENTS, json_schema, write_schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_schemas_are_up_to_date(name: str, tmp_path: Path) -> None:
    written = {path.name: path for path in write_schemas(tmp_path)}
    fresh = written[f"{name}.schema.json"].read_text()
    published = (FOLDER / f"{name}.schema.json").read_text()
    assert published == fresh, "run: python -m memplan.ir.schema docs/schema"


def test_no_schema_of_a_document_that_is_gone() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schemas_are_versioned_and_closed(name: str) -> None:
    schema = json_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["schema"]["const"] == f"memplan.{name}/1"
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_every_object_is_closed() -> None:
    for name in DOCUMENTS:
        for part, definition in json_schema(name).get("$defs", {}).items():
            if "properties" in definition:
                assert definition["additionalProperties"] is False, part
