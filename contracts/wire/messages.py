"""Every kind of record that has a schema, found from the events' own declarations.

Field descriptions are taken from the docstrings, so that each is written once, in the code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from inspect import cleandoc
from operator import or_
from pkgutil import iter_modules
from typing import Any, Final

import msgspec

from millrace.contracts import events
from millrace.contracts.events.event import Event
from millrace.contracts.events.model_event import EventBase
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.topics import TOPICS, Topic

Document = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A kind of record on a topic.

    Attributes:
        name: Its name in the documents.
        topic: Its topic.
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


def declared_kinds() -> list[type[Event]]:
    """Every kind of event that declares its type, in the order of the topics."""
    for module in iter_modules(events.__path__, f"{events.__name__}."):
        import_module(module.name)
    found = [kind for kind in _descendants(Event) if "TYPE" in vars(kind)]
    return sorted(found, key=lambda kind: (TOPICS.index(kind.TOPIC), message_of(kind).name))


def message_of(kind: type[Event]) -> Message:
    """Describe a kind of event; one with subkinds is their union."""
    name = kind.SCHEMA or kind.TYPE.split(".")[1].replace("-", "_")
    body = reduce(or_, kind.__subclasses__() or [kind])
    return Message(name, kind.TOPIC, kind.TYPE, kind.CONTENT_TYPE, body, kind.DERIVED)


def _descendants(kind: type[Event]) -> list[type[Event]]:
    return [each for child in kind.__subclasses__() for each in (child, *_descendants(child))]


MESSAGES: Final = tuple(message_of(kind) for kind in declared_kinds())


def types_on(topic: Topic) -> list[str]:
    """CloudEvents types of a topic's events; none for records of unknown content.

    >>> from millrace.contracts.topics import MODEL_EVENTS
    >>> types_on(MODEL_EVENTS)
    ['millrace.model-event.v1']
    """
    return sorted({message.ce_type for message in MESSAGES if message.topic == topic})


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
    """Split a Google docstring into its summary and the descriptions of its attributes."""
    summary, _, rest = cleandoc(text).partition("\nAttributes:\n")
    fields = re.findall(r"^ {4}(\w+): ((?:.+\n?(?:^ {8}.*\n?)*))", rest, flags=re.MULTILINE)
    return _flat(summary), {name: _flat(said) for name, said in fields}


def _flat(text: str) -> str:
    return " ".join(text.split())
