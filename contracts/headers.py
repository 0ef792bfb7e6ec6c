"""CloudEvents attributes as Kafka headers (binary content mode).

See https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

RawHeaders = list[tuple[str, bytes]]

CONTENT_TYPE = "content-type"
#: Id of an event.
ID = "ce_id"
#: Source record of a derived record, so that duplicates are found without decoding.
SOURCE_OFFSET = "millrace_source_offset"
#: Of a prediction: processor and TensorFlow version that made it (`inference.serving.platform`).
PLATFORM = "millrace_platform"


def cloud_event(
    event_id: str, event_type: str, source: str, content_type: str, time: datetime
) -> RawHeaders:
    """Build the headers of an event.

    Args:
        event_id: Deterministic id; with ``source`` it names the event.
        event_type: For example ``millrace.prediction.v1``.
        source: Its producer, for example ``/millrace/inference``.
        content_type: Media type of the value.
        time: When it happened (UTC).
    """
    stamp = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return [
        ("ce_specversion", b"1.0"),
        (ID, event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", stamp.encode()),
        (CONTENT_TYPE, content_type.encode()),
    ]


def around_id(
    event_type: str, source: str, content_type: str, time: datetime
) -> tuple[RawHeaders, RawHeaders]:
    """Headers that events of one kind and time share: those before the id, and those after it."""
    shared = cloud_event("", event_type, source, content_type, time)
    place = [name for name, _ in shared].index(ID)
    return shared[:place], shared[place + 1 :]


def content_type_of(headers: Sequence[tuple[str, bytes]] | None) -> str | None:
    """Find the media type of a record's value, lower case and without parameters.

    The header's name may be in any case, as HTTP and MQTT bridges send it; the last one wins.

    >>> content_type_of([("Content-Type", b"Application/JSON; charset=utf-8")])
    'application/json'

    Returns:
        The type; None if there is no such header, or it is not UTF-8.
    """
    for name, value in reversed(headers or []):
        if name == CONTENT_TYPE or name.lower() == CONTENT_TYPE:
            said = header([(name, value)], name)
            return None if said is None else said.partition(";")[0].strip().lower()
    return None


def header(headers: Sequence[tuple[str, bytes]] | None, name: str) -> str | None:
    """Find a header's text; the last one wins; None if absent or not UTF-8."""
    for key, value in reversed(headers or []):
        if key == name:
            try:
                return value.decode()
            except (UnicodeDecodeError, AttributeError):  # a header may be null on the wire
                return None
    return None
