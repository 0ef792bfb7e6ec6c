"""Tails `model.events` and folds it, so that a service always knows which versions serve.

A feed has no consumer group: every replica reads every event, from the beginning. An event that
cannot be decoded, or that the fold refuses, is ignored and blocks no service: it is counted, and
logged once with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from confluent_kafka import Message
from prometheus_client import Counter

from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import MODEL_EVENTS, Topic
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import LogReader
from millrace.infra.settings import Settings
from millrace.registry.refusals import Refusal, refusal_of, unreadable
from millrace.registry.state import Registry

_log = structlog.get_logger(__name__)
_REFUSED = Counter("millrace_registry_refused_total", "Registry events refused", ["kind"])


class ModelFeed:
    """The registry as seen by one process; owned by one thread."""

    def __init__(self, settings: Settings, *, tells: bool = True) -> None:
        """Start at the first event.

        Args:
            settings: Where Kafka is.
            tells: Whether refused events are logged; False if the caller shows them itself.
        """
        self._tells = tells
        self.registry = Registry()
        self._read = EventReader[ModelEvent](ModelEvent)
        self._log = LogReader(settings, [MODEL_EVENTS])

    def catch_up(self) -> list[ModelEvent]:
        """Apply all events up to the present end.

        Returns:
            The events that changed something, in order.
        """
        return self._fold(self._log.read_to_end())

    def poll(self, timeout: float) -> list[ModelEvent]:
        """Apply the events that arrive within a time limit.

        Args:
            timeout: Seconds to wait for a first event.

        Returns:
            Events that changed something, in order.
        """
        return self._fold(self._log.poll(timeout))

    def _fold(self, messages: Iterable[tuple[Topic, Message]]) -> list[ModelEvent]:
        changed: list[ModelEvent] = []
        for _, message in messages:
            value = message.value()
            if value is None:
                continue
            try:
                event = self._read(value)
            except InvalidRecord as problem:
                self._refuse(unreadable(value, problem.detail), message.offset())
                continue
            reason = self.registry.refusal(event)
            if reason is not None:
                self._refuse(refusal_of(event, reason), message.offset())
            elif self.registry.apply(event):
                changed.append(event)
        return changed

    def _refuse(self, refusal: Refusal, offset: int | None) -> None:
        """Count a refused event, and log it unless it was logged before."""
        _REFUSED.labels(refusal.kind).inc()
        if self.registry.refuse(refusal) and self._tells:
            _log.warning(
                "registry event refused",
                offset=offset,
                model=refusal.model,
                version=refusal.version,
                kind=refusal.kind,
                why=refusal.reason,
            )

    def close(self) -> None:
        """Close the reader."""
        self._log.close()
