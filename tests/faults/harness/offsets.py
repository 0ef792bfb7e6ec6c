"""Samples what the consumer groups have committed: it may only go forward.

It asks with consumers that never subscribe, and so are no members: librdkafka ends the whole
process when the broker dies under an administrative question about a group.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from millrace.contracts.topics import (
    ARCHIVED,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
    Topic,
)
from millrace.infra.kafka.clients import consumer
from millrace.infra.settings import Settings

#: Groups, and what each of them reads.
GROUPS: Final[Mapping[str, Sequence[Topic]]] = {
    "millrace.stream-processor": (SENSOR_WINDOWS, PREDICTIONS),
    "millrace.inference": (NORMALIZED,),
    "millrace.archiver": ARCHIVED,
}
#: What is committed, even while a transaction is open that will commit more; and silence.
_CLIENT: Final = {"isolation.level": "read_uncommitted", "log_level": 0}
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
        self._clients = {group: consumer(settings, group, _CLIENT) for group in GROUPS}
        self._samples: list[Committed] = []
        self._latest: dict[tuple[str, str, int], int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="offsets", daemon=True)
        self._thread.start()

    def changes(self) -> list[Committed]:
        """Every offset that differed from the one seen before it, in the order of sampling."""
        return list(self._samples)

    def take(self) -> list[Committed]:
        """Take the changes so far; they are forgotten here."""
        taken = self._samples[:]
        del self._samples[: len(taken)]  # the thread adds only behind them
        return taken

    def latest(self, group: str, topic: str, partition: int) -> int:
        """The latest committed offset; names without the namespace; 0 if there is none."""
        return self._latest.get((group, topic, partition), 0)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()
        for client in self._clients.values():
            client.close()

    def _sample(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            for group, client in self._clients.items():
                self._ask(group, client)

    def _ask(self, group: str, client: Consumer) -> None:
        names = {self._settings.named(topic.name): topic.name for topic in GROUPS[group]}
        places = [
            TopicPartition(self._settings.named(topic.name), partition)
            for topic in GROUPS[group]
            for partition in range(self._settings.kafka_partitions if topic.by_asset else 1)
        ]
        try:
            client.poll(0)  # lets it drop what it wants to tell about connections
            found = client.committed(places, _ANSWER_SECONDS)
        except KafkaException:
            return  # no broker now: the next sample will tell
        for place in found:
            if place.error is not None or place.offset < 0:
                continue
            key = group, names[place.topic], place.partition
            if self._latest.get(key) != place.offset:
                self._latest[key] = place.offset
                self._samples.append(Committed(*key, place.offset))
