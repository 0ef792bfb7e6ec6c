"""JSON events on the wire: value bytes and CloudEvents headers, and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Generic, TypeVar, get_args

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.mended import Mended
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.topic_epoch import TopicEpoch
from millrace.contracts.events.training import TrainingRequest, TrainingRun
from millrace.contracts.events.window import JSON
from millrace.contracts.headers import RawHeaders, cloud_event
from millrace.contracts.invalid_record import InvalidRecord

JsonEvent = (
    Prediction
    | Outcome
    | DriftAlert
    | TrainingRequest
    | TrainingRun
    | LedgerEntry
    | Mended
    | TopicEpoch
    | ModelEvent
)
E = TypeVar("E")


#: CloudEvents types of the events.
PREDICTION: Final = "millrace.prediction.v1"
OUTCOME: Final = "millrace.outcome.v1"
DRIFT_ALERT: Final = "millrace.drift-alert.v1"
TRAINING_REQUEST: Final = "millrace.training-request.v1"
TRAINING_RUN: Final = "millrace.training-run.v1"
MODEL_EVENT: Final = "millrace.model-event.v1"
LEDGER_ENTRY: Final = "millrace.ledger-entry.v1"
MENDED_LETTER: Final = "millrace.mended-letter.v1"
TOPIC_EPOCH: Final = "millrace.topic-epoch.v1"
WINDOW: Final = "millrace.window.v1"
NORMALIZED_WINDOW: Final = "millrace.normalized-window.v1"

_encode = msgspec.json.Encoder().encode


def encode(event: JsonEvent) -> bytes:
    """Encode an event as JSON."""
    return _encode(event)


def headers_of(event: JsonEvent, source: str, at: datetime) -> RawHeaders:
    """Build an event's CloudEvents headers.

    Args:
        event: The event.
        source: Who made it, for example ``/millrace/trainer``.
        at: When.
    """
    match event:
        case Prediction():
            kind = PREDICTION
        case Outcome():
            kind = OUTCOME
        case DriftAlert():
            kind = DRIFT_ALERT
        case TrainingRequest():
            kind = TRAINING_REQUEST
        case TrainingRun():
            kind = TRAINING_RUN
        case LedgerEntry():
            kind = LEDGER_ENTRY
        case Mended():
            kind = MENDED_LETTER
        case TopicEpoch():
            kind = TOPIC_EPOCH
        case _:
            kind = MODEL_EVENT
    name = event.key if isinstance(event, LedgerEntry | Mended | TopicEpoch) else event.id
    return cloud_event(name, kind, source, JSON, at)


class EventReader(Generic[E]):
    """Decodes one kind of JSON event.

    >>> reader = EventReader(LedgerEntry)
    >>> try:
    ...     reader(b"{")
    ... except InvalidRecord as problem:
    ...     print(problem.reason)
    undecodable
    """

    def __init__(self, kind: type[E] | Any) -> None:
        """Prepare a decoder for a struct or a union of structs."""
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, data: bytes) -> E:
        """Decode a record's value.

        Raises:
            InvalidRecord: It is not such an event.
        """
        try:
            event: E = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DataError) as error:
            kinds = get_args(self._kind) or (self._kind,)
            name = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
            raise InvalidRecord("undecodable", f"not a {name}: {error}") from error
        return event
