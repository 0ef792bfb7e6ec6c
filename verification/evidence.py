"""Content of the topics, read from their beginning with ``read_committed``.

Beside the source itself, it is the checker's only input about a run: it uses no counter, log or
memory of a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from confluent_kafka import Message

from millrace.contracts.events import dead_letter
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.event import Event
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import RawHeaders, content_type_of, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MODEL_EVENTS,
    NORMALIZED,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.settings import Settings

K = TypeVar("K", bound=Event)
T = TypeVar("T")

_normalized = msgspec.msgpack.Decoder(NormalizedWindow).decode


@dataclass(frozen=True)
class SentWindow:
    """A record of `sensor.windows`.

    Attributes:
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: The edge's timestamp.
        window: Its content; None if it cannot be decoded.
    """

    partition: int
    offset: int
    timestamp_ms: int
    window: SensorWindow | None


@dataclass(frozen=True)
class Refusal:
    """The fields of a dead letter that the checker needs.

    Attributes:
        topic: Topic of the refused record, without the namespace.
        partition: Its partition.
        offset: Its offset.
        reason: Why it was refused.
    """

    topic: str
    partition: int
    offset: int
    reason: str


@dataclass
class Evidence:
    """Content of all topics, in the order of each partition."""

    windows: list[SentWindow] = field(default_factory=list)
    normalized: list[NormalizedWindow] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    model_events: list[ModelEvent] = field(default_factory=list)
    requests: list[TrainingRequest] = field(default_factory=list)
    runs: list[TrainingRun] = field(default_factory=list)
    alerts: list[DriftAlert] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)


def gather(settings: Settings) -> Evidence:
    """Read all topics.

    Raises:
        ServerError: No broker answers, or a topic is missing.
    """
    found = Evidence()
    found.windows = [_sent(message) for message in read_all(settings, SENSOR_WINDOWS)]
    found.refusals = [_refusal(message) for message in read_all(settings, DEAD_LETTERS)]
    found.normalized = _decoded(settings, NORMALIZED, _normalized, found)
    found.predictions = _events(settings, Prediction, found)
    found.ledger = _events(settings, LedgerEntry, found)
    found.model_events = _decoded(settings, MODEL_EVENTS, EventReader(ModelEvent), found)
    found.requests = _events(settings, TrainingRequest, found)
    found.runs = _events(settings, TrainingRun, found)
    found.alerts = _events(settings, DriftAlert, found)
    found.outcomes = _events(settings, Outcome, found)
    return found


def raw_headers(message: Message) -> RawHeaders:
    """A record's headers with their bytes."""
    return message_headers(message) or []


def _events(settings: Settings, kind: type[K], found: Evidence) -> list[K]:
    return _decoded(settings, kind.TOPIC, EventReader[K](kind), found)


def _decoded(
    settings: Settings, topic: Topic, read: Callable[[bytes], T], found: Evidence
) -> list[T]:
    """Read a topic; records that cannot be decoded are counted."""
    events = []
    for message in read_all(settings, topic):
        try:
            events.append(read(message.value() or b""))
        except (InvalidRecord, msgspec.DecodeError):
            found.unreadable[topic.name] = found.unreadable.get(topic.name, 0) + 1
    return events


def _sent(message: Message) -> SentWindow:
    window = None
    try:
        content_type = content_type_of(raw_headers(message))
        window = decode_window(message.value() or b"", content_type)
    except InvalidRecord:
        pass  # its dead letter has the reason; the checker looks for it
    return SentWindow(
        message.partition() or 0, message.offset() or 0, message.timestamp()[1], window
    )


def _refusal(message: Message) -> Refusal:
    headers = raw_headers(message)
    return Refusal(
        header(headers, dead_letter.TOPIC) or "",
        int(header(headers, dead_letter.PARTITION) or -1),
        int(header(headers, dead_letter.OFFSET) or -1),
        header(headers, dead_letter.REASON) or "unknown",
    )
