"""Samples what the consumer groups have committed: it may only go forward."""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException

from infra.kafka import admin
from infra.settings import Settings

GROUPS: Final = ("millrace.stream-processor", "millrace.inference", "millrace.archiver")
_EVERY_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 5.0


class Committed(NamedTuple):
    """A committed offset at some moment."""

    group: str
    topic: str
    partition: int
    offset: int


class OffsetSampler:
    """Asks the broker a few times a second, on a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        """Start."""
        self._settings = settings
        self._client = admin(settings.model_copy())
        self._samples: list[Committed] = []
        self._latest: dict[tuple[str, str, int], int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="offsets", daemon=True)
        self._thread.start()

    def changes(self) -> list[Committed]:
        """Every offset that differed from the one seen before it, in the order of sampling."""
        return list(self._samples)

    def latest(self, group: str, topic: str, partition: int) -> int:
        """The latest committed offset; names without the namespace; 0 if there is none."""
        return self._latest.get((group, topic, partition), 0)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            for group in GROUPS:
                self._ask(group)

    def _ask(self, group: str) -> None:
        named = self._settings.named(group)
        prefix = self._settings.named("")
        try:
            future: Any = self._client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(named)], request_timeout=_ANSWER_SECONDS
            )[named]
            found = future.result(timeout=2 * _ANSWER_SECONDS)
        except (KafkaException, TimeoutError):
            return  # no such group yet, or no broker now: the next sample will tell
        for place in found.topic_partitions:
            if place.error is not None or place.offset < 0:
                continue
            key = group, place.topic.removeprefix(prefix), place.partition
            if self._latest.get(key) != place.offset:
                self._latest[key] = place.offset
                self._samples.append(Committed(*key, place.offset))
