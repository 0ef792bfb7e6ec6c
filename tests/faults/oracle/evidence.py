"""What the oracle knows: the source's own list, and the records of the topics. Nothing else.

Records become values here; judging them is `tests.faults.oracle.judge.judge`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from millrace.contracts.events import dead_letter
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow, decode_window
from millrace.contracts.headers import CONTENT_TYPE, content_type_of, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MODEL_EVENTS,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
    Topic,
)
from millrace.contracts.wire.codec import EventReader
from millrace.registry.state import Registry
from millrace.verification.evidence import Evidence as TopicEvidence
from millrace.verification.evidence import Refusal, SentWindow
from tests.faults.harness.observer import Observer, Seen
from tests.faults.harness.offsets import Committed
from tests.faults.harness.source import Input

_read_prediction = EventReader[Prediction](Prediction)
_read_entry = EventReader[LedgerEntry](LedgerEntry)
_read_event = EventReader[ModelEvent](ModelEvent)
_unpack = msgspec.msgpack.Decoder(NormalizedWindow).decode


class RawRecord(NamedTuple):
    """A record of `sensor.windows`, as bytes."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    content_type: str | None


@dataclass
class Evidence:
    """Everything that is judged.

    Attributes:
        inputs: What the source has sent, or must have.
        raw: Records of `sensor.windows`.
        topics: The other topics' records, decoded, those of a partition in their order.
        registry: The fold of the model events.
        commits: Committed offsets as they changed.
    """

    inputs: Sequence[Input] = ()
    raw: Sequence[RawRecord] = ()
    topics: TopicEvidence = field(default_factory=TopicEvidence)
    registry: Registry = field(default_factory=Registry)
    commits: Sequence[Committed] = ()


def gather(observer: Observer, inputs: Iterable[Input], commits: Iterable[Committed]) -> Evidence:
    """Decode what an observer has seen."""
    return decode(observer.records, inputs, commits)


def decode(
    records: Callable[[Topic], Sequence[Seen]],
    inputs: Iterable[Input],
    commits: Iterable[Committed],
) -> Evidence:
    """Decode records.

    Args:
        records: Those of a topic, as they were seen.
        inputs: What the source has sent.
        commits: Committed offsets as they changed.
    """
    topics = TopicEvidence()
    windows = records(SENSOR_WINDOWS)
    topics.windows = [
        SentWindow(r.partition, r.offset, r.timestamp_ms, _window(r)) for r in windows
    ]
    topics.normalized = [_unpack(r.value) for r in records(NORMALIZED)]
    topics.predictions = [_read_prediction(r.value) for r in records(PREDICTIONS)]
    topics.refusals = [each for r in records(DEAD_LETTERS) for each in _refusals(r)]
    topics.ledger = [_read_entry(r.value) for r in records(SERVING_LEDGER)]
    topics.model_events = events_of(records(MODEL_EVENTS))
    return Evidence(
        inputs=list(inputs),
        raw=[
            RawRecord(r.partition, r.offset, r.key, r.value, header(r.headers, CONTENT_TYPE))
            for r in windows
        ],
        topics=topics,
        registry=registry_of(topics.model_events),
        commits=list(commits),
    )


def model_events(observer: Observer) -> list[ModelEvent]:
    """The registry's events so far; what is none is passed over, as every reader does."""
    return events_of(observer.records(MODEL_EVENTS))


def events_of(records: Iterable[Seen]) -> list[ModelEvent]:
    """Decode records of the registry; what is none is passed over."""
    found: list[ModelEvent] = []
    for record in records:
        try:
            found.append(_read_event(record.value))
        except InvalidRecord:
            continue
    return found


def registry_of(events: Iterable[ModelEvent]) -> Registry:
    """Fold events."""
    registry = Registry()
    for event in events:
        registry.apply(event)
    return registry


def ledger_of(observer: Observer) -> list[LedgerEntry]:
    """The ledger so far."""
    return [_read_entry(record.value) for record in observer.records(SERVING_LEDGER)]


def _window(record: Seen) -> SensorWindow | None:
    try:
        return decode_window(record.value, content_type_of(record.headers))
    except InvalidRecord:
        return None


def _refusals(record: Seen) -> list[Refusal]:
    """What a dead letter says of a record, or of each record of a batch."""
    headers = record.headers
    last = int(header(headers, dead_letter.OFFSET) or -1)
    first = int(header(headers, dead_letter.BATCH_FIRST_OFFSET) or last)
    return [
        Refusal(
            header(headers, dead_letter.TOPIC) or "",
            int(header(headers, dead_letter.PARTITION) or -1),
            offset,
            header(headers, dead_letter.REASON) or "unknown",
        )
        for offset in range(first, last + 1)
    ]
