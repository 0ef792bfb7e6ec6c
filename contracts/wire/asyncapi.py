"""The AsyncAPI 3.1 document: every topic as a channel, with messages, headers and keys.

See https://www.asyncapi.com/docs/reference/specification/v3.1.0
"""

from typing import Final

from millrace.contracts.events import dead_letter
from millrace.contracts.events.event import JSON
from millrace.contracts.headers import CONTENT_TYPE, PLATFORM, SOURCE_OFFSET
from millrace.contracts.topics import (
    DEAD_LETTERS,
    FOREVER,
    PREDICTIONS,
    SENSOR_WINDOWS,
    TOPICS,
    TRAINING_REQUESTS,
    Topic,
)
from millrace.contracts.wire.messages import MESSAGES, Document, Message, components

#: Topics that other systems may read.
_EVENTS: Final = tuple(topic for topic in TOPICS if not topic.internal)
#: Topics that other systems may also write to; the others are read-only for them.
_OPEN: Final = (SENSOR_WINDOWS, TRAINING_REQUESTS)
#: Headers of a refused record that is retried.
_FIRST_ORIGIN: Final = {
    dead_letter.ORIGIN_TOPIC: "If it was sent again: topic of the record that was refused first.",
    dead_letter.ORIGIN_PARTITION: "Its partition there, to which it is sent again.",
    dead_letter.ORIGIN_OFFSET: "Its offset there. Of records with the same one, one is taken.",
}


def asyncapi() -> Document:
    """Build the AsyncAPI document."""
    bodies, parts = components([m.body for m in MESSAGES], "#/components/schemas/")
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": "1",
            "description": "Events by which Millrace's services and other systems meet."
            " A deployment may put a namespace before every topic's name.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {topic.name: _channel(topic) for topic in _EVENTS},
        "operations": {
            f"{'receive' if topic in _OPEN else 'send'}.{topic.name}": {
                "action": "receive" if topic in _OPEN else "send",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": f"Millrace {'reads' if topic in _OPEN else 'writes'} {topic.holds}.",
            }
            for topic in _EVENTS
        },
        "components": {
            "messages": {
                **{m.name: _message(m, body) for m, body in zip(MESSAGES, bodies, strict=True)},
                "dead_letter": _dead_letter(),
            },
            "schemas": parts,
        },
    }


def _channel(topic: Topic) -> Document:
    names = [message.name for message in MESSAGES if message.topic == topic]
    if topic == DEAD_LETTERS:
        names = ["dead_letter"]
    return {
        "address": topic.name,
        "description": f"Holds {topic.holds}; keyed by {topic.key}. {_kept(topic)}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_bytes,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "The latest record of each key is kept."
    return "Kept forever." if topic.retention_ms == FOREVER else "Kept for a time."


def _message(message: Message, body: Document) -> Document:
    return {
        "name": message.ce_type,
        "title": message.name.replace("_", " "),
        "summary": f"{message.topic.holds[0].upper()}{message.topic.holds[1:]}.",
        "contentType": message.content_type,
        "headers": _headers(message),
        "payload": body,
        "bindings": _key(message.topic),
    }


def _headers(message: Message) -> Document:
    """Describe the CloudEvents headers of the Kafka binary mode."""
    own: dict[str, Document] = {}
    if message.derived:
        own = {SOURCE_OFFSET: _text("Offset of the source record.")}
        if message.topic == PREDICTIONS:
            own[PLATFORM] = _text("Processor and TensorFlow version that made the forecast.")
    elif message.topic == SENSOR_WINDOWS:
        own = {name: _text(text) for name, text in _FIRST_ORIGIN.items()}
    return {
        "type": "object",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": _text("Deterministic id; with ce_source it names the event."),
            "ce_type": {"type": "string", "const": message.ce_type},
            "ce_source": _text("Who made it."),
            "ce_time": {"type": "string", "format": "date-time", "description": "When."},
            CONTENT_TYPE: {"type": "string", "const": message.content_type},
            **own,
        },
        "required": [CONTENT_TYPE],
    }


def _dead_letter() -> Document:
    says: dict[str, str] = {
        dead_letter.REASON: "Why, in a word.",
        dead_letter.DETAIL: "Why, in a sentence, and how to mend it.",
        dead_letter.TOPIC: "Topic that it came from.",
        dead_letter.PARTITION: "Its partition there.",
        dead_letter.OFFSET: "Its offset there.",
        dead_letter.TIMESTAMP: "Its timestamp there, milliseconds since 1970 UTC.",
    }
    may_say: dict[str, str] = {
        # Inference must not write it: the stream processor recovers its progress from it.
        SOURCE_OFFSET: "The same offset, in letters of the stream processor; those of inference"
        " are without.",
        **_FIRST_ORIGIN,
    }
    return {
        "name": "dead_letter",
        "title": "dead letter",
        "summary": "The original bytes and headers, where they came from, and why.",
        "headers": {
            "type": "object",
            "properties": {name: _text(text) for name, text in (says | may_say).items()},
            "required": list(says),
        },
        "payload": {"description": "The original bytes, whatever they are."},
        "bindings": _key(DEAD_LETTERS),
    }


def _key(topic: Topic) -> Document:
    return {
        "kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": "0.5.0"}
    }


def _text(description: str) -> Document:
    return {"type": "string", "description": description}
