"""All kinds of records with a schema, declared once, and their structs as JSON Schemas.

Field descriptions are those of the docstrings: what is said once in code is said everywhere.
"""

import re
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, Final

import msgspec

from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.mended import Mended
from millrace.contracts.events.model_event import EventBase, ModelEvent
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.topic_epoch import TopicEpoch
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.events.window import JSON, MSGPACK, PackedWindow, PlainWindow, SensorWindow
from millrace.contracts.topics import (
    DRIFT_ALERTS,
    MENDED,
    MODEL_EVENTS,
    NORMALIZED,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    TOPIC_EPOCHS,
    TRAINING_REQUESTS,
    TRAINING_RUNS,
    Topic,
)
from millrace.contracts.wire.codec import (
    DRIFT_ALERT,
    LEDGER_ENTRY,
    MENDED_LETTER,
    MODEL_EVENT,
    NORMALIZED_WINDOW,
    OUTCOME,
    PREDICTION,
    TOPIC_EPOCH,
    TRAINING_REQUEST,
    TRAINING_RUN,
    WINDOW,
)

Document = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A kind of record on a topic.

    Attributes:
        name: Its name in the documents.
        topic: Where it is.
        ce_type: Its CloudEvents type.
        content_type: Media type of its value.
        body: Struct or union of structs that its value is.
        derived: Whether it carries the offset of its source record.
    """

    name: str
    topic: Topic
    ce_type: str
    content_type: str
    body: Any
    derived: bool = False


MESSAGES: Final = (
    Message("window", SENSOR_WINDOWS, WINDOW, MSGPACK, PackedWindow),
    Message("window_json", SENSOR_WINDOWS, WINDOW, JSON, PlainWindow),
    Message(
        "normalized_window", NORMALIZED, NORMALIZED_WINDOW, MSGPACK, NormalizedWindow, derived=True
    ),
    Message("prediction", PREDICTIONS, PREDICTION, JSON, Prediction, derived=True),
    Message("outcome", OUTCOMES, OUTCOME, JSON, Outcome),
    Message("drift_alert", DRIFT_ALERTS, DRIFT_ALERT, JSON, DriftAlert),
    Message("training_request", TRAINING_REQUESTS, TRAINING_REQUEST, JSON, TrainingRequest),
    Message("training_run", TRAINING_RUNS, TRAINING_RUN, JSON, TrainingRun),
    Message("model_event", MODEL_EVENTS, MODEL_EVENT, JSON, ModelEvent),
    Message("mended_letter", MENDED, MENDED_LETTER, JSON, Mended),
    Message("topic_epoch", TOPIC_EPOCHS, TOPIC_EPOCH, JSON, TopicEpoch),
    Message("ledger_entry", SERVING_LEDGER, LEDGER_ENTRY, JSON, LedgerEntry),
)


def components(bodies: list[Any], prefix: str) -> tuple[list[Document], dict[str, Document]]:
    """Generate schemas of structs, with their docstrings as descriptions."""
    found, parts = msgspec.json.schema_components(bodies, ref_template=prefix + "{name}")
    return list(found), {name: _describe(part) for name, part in sorted(parts.items())}


def _describe(part: Document) -> Document:
    """Spread a docstring over the description of a struct and those of its fields."""
    summary, fields = _docstring(part.get("description", ""))
    if part.get("title") in {"PackedWindow", "PlainWindow"}:
        fields = {**_docstring(SensorWindow.__doc__ or "")[1], **fields}
    if "kind" in part.get("properties", {}):
        fields = {**_docstring(EventBase.__doc__ or "")[1], **fields}
    properties = {
        name: {**schema, "description": schema.get("description", fields[name])}
        if name in fields
        else schema
        for name, schema in part.get("properties", {}).items()
    }
    return {**part, "description": summary, "properties": properties}


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a Google docstring into what it says of a whole and of its attributes."""
    summary, _, rest = cleandoc(text).partition("\nAttributes:\n")
    fields = re.findall(r"^ {4}(\w+): ((?:.+\n?(?:^ {8}.*\n?)*))", rest, flags=re.MULTILINE)
    return _flat(summary), {name: _flat(said) for name, said in fields}


def _flat(text: str) -> str:
    return " ".join(text.split())
