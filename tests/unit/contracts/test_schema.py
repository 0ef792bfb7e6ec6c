"""The generated documents are in step with the code, and say the truth about real records."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # no stubs among our tools
import msgspec
import numpy as np
import pytest

from millrace.contracts.events.window import SensorWindow, encode_window_json
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import TOPICS
from millrace.contracts.wire.codec import encode
from millrace.contracts.wire.messages import MESSAGES
from millrace.contracts.wire.schema import ASYNCAPI, FOLDER, documents, files, out_of_step
from millrace.registry.decisions import declare

DOCUMENTS = documents()


def stored(name: str) -> bytes | None:
    """Read a stored document."""
    path = FOLDER / name
    return path.read_bytes() if path.exists() else None


def test_documents_are_in_step() -> None:
    """After a change of the contracts, `millrace.contracts.wire.schema` must have been run."""
    assert out_of_step(stored, {path.name for path in FOLDER.glob("*.json")}) == []


def test_what_is_out_of_step_is_named() -> None:
    """A changed, a missing and a left-over file are all found."""
    there = {**files(), "window.json": b"{}", "old.json": b"{}"}
    del there["outcome.json"]
    assert out_of_step(there.get, set(there)) == ["old.json", "outcome.json", "window.json"]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: str(m.name))
def test_schemas_are_schemas(message: Any) -> None:
    """Each is valid JSON Schema, and explains itself."""
    schema = DOCUMENTS[f"{message.name}.json"]
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in [schema, *schema.get("$defs", {}).values()]:
        unexplained = {
            name for name, field in part.get("properties", {}).items() if "description" not in field
        }
        assert unexplained <= {"v", "kind", "id"}, part["title"]


def test_real_records_are_valid() -> None:
    """What the code writes is what the schemas say, and a spoiled record is not."""
    window = SensorWindow("a", ("x",), 0, 60.0, np.array([[1.0], [np.nan]], np.float32))
    jsonschema.validate(json.loads(encode_window_json(window)), DOCUMENTS["window_json.json"])
    for event in declare(ModelSpec("m", ("x",), 60.0, 2, 1, 1), datetime.now(UTC)):
        body = json.loads(encode(event))
        jsonschema.validate(body, DOCUMENTS["model_event.json"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**body, "version": "one"}, DOCUMENTS["model_event.json"])


def test_asyncapi_has_every_topic_and_resolves() -> None:
    """Channels are the declared topics, each with messages, and no reference dangles."""
    document = DOCUMENTS[ASYNCAPI]
    assert set(document["channels"]) == {topic.name for topic in TOPICS if not topic.internal}
    assert all(channel["messages"] for channel in document["channels"].values())

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for item in node for ref in references(item)] if isinstance(node, list) else []

    found = references(msgspec.json.decode(msgspec.json.encode(document)))
    assert found
    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target
