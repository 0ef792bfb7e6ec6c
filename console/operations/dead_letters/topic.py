"""Reads dead letters and their resolutions from Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from confluent_kafka import Consumer, Message, TopicPartition

from millrace.console.operations.dead_letters.letter import Letter, Reference, letter_of
from millrace.contracts.clock import to_ms
from millrace.contracts.errors import DataError
from millrace.contracts.events.dead_letter import Origin
from millrace.contracts.events.mended import Resolution
from millrace.contracts.headers import RawHeaders
from millrace.contracts.topics import DEAD_LETTERS, MENDED, SENSOR_WINDOWS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.clients import ANSWER_SECONDS, partitions_of, reader, watermarks
from millrace.infra.kafka.log_reader import read_all, read_ranges
from millrace.infra.kafka.message_headers import message_headers
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs

#: Letters whose offsets are no further apart than this are read together.
_NEAR: Final = 500


class _Stretch(NamedTuple):
    """Offsets [start, end) of a partition."""

    partition: int
    start: int
    end: int


def read_letters(settings: Settings, since: datetime | None = None) -> list[Letter]:
    """Read all letters from a time on, without their bytes, sorted by time.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    name = settings.named(DEAD_LETTERS.name)
    client = reader(settings)
    try:
        stretches = _since(client, name, since)
        found = [_letter(message) for message in _read(client, name, stretches)]
    finally:
        client.close()
    found.sort(key=lambda letter: (letter.time, letter.place))
    return found


def read_mended(settings: Settings) -> dict[Origin, int]:
    """Read the resolved origins, with the offset of the accepted retry in their partition.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    read = EventReader[Resolution](Resolution)
    found: dict[Origin, int] = {}
    for message in read_all(settings, MENDED):
        note = read.valid(message.value())
        if note is None:
            continue
        origin = Origin(SENSOR_WINDOWS.name, note.partition, note.first_offset)
        found.setdefault(origin, note.offset)
    return found


def read_bodies(
    settings: Settings, places: Iterable[Reference]
) -> Iterator[tuple[Letter, Message]]:
    """Read letters with their bytes, in the order of their places.

    Raises:
        DataError: There is no such letter.
        ServerError: No broker answers, or the topic is not there.
    """
    name = settings.named(DEAD_LETTERS.name)
    wanted = sorted(set(places))
    missing = set(wanted)
    client = reader(settings)
    try:
        for message in _read(client, name, _around(client, name, wanted)):
            letter = _letter(message)
            if letter.place in missing:
                missing.discard(letter.place)
                yield letter, message
    finally:
        client.close()
    if missing:
        raise DataError(
            f"there is no dead letter {min(missing)} (any more); `millrace dead-letters list`"
            " shows those that are there"
        )


def read_record(settings: Settings, place: Origin) -> Message | None:
    """Read the refused record; None if its topic does not contain it any more.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    name = settings.named(place.topic)
    epochs = TopicEpochs(settings, "/millrace/console")
    client = reader(settings)
    try:
        low, high = watermarks(client, TopicPartition(name, place.partition))
        offset = epochs.offset(place.topic, place.partition, place.offset)
        if offset is None or not low <= offset < high:
            return None
        stretch = _Stretch(place.partition, offset, offset + 1)
        found = list(_read(client, name, [stretch]))
    finally:
        client.close()
        epochs.close()
    return found[0] if found else None


def headers_in(message: Message) -> RawHeaders:
    """A record's headers with their bytes; a null is empty."""
    return message_headers(message) or []


def bytes_of(data: str | bytes | None) -> bytes | None:
    """A key or a value as bytes."""
    return data.encode() if isinstance(data, str) else data


def _letter(message: Message) -> Letter:
    return letter_of(
        Reference(message.partition() or 0, message.offset() or 0),
        message.timestamp()[1],
        bytes_of(message.key()),
        headers_in(message),
        len(message.value() or b""),
    )


def _since(client: Consumer, topic: str, since: datetime | None) -> list[_Stretch]:
    """The offsets from a time on."""
    found = []
    for partition in partitions_of(client, topic):
        start, end = watermarks(client, TopicPartition(topic, partition))
        if since is not None:
            asked = [TopicPartition(topic, partition, max(to_ms(since), 0))]
            (place,) = client.offsets_for_times(asked, timeout=ANSWER_SECONDS)
            start = place.offset if place.offset >= 0 else end
        found.append(_Stretch(partition, start, end))
    return found


def _around(client: Consumer, topic: str, wanted: Sequence[Reference]) -> list[_Stretch]:
    """Ranges that contain the wanted letters and few others; missing letters are ignored."""
    there = {
        partition: watermarks(client, TopicPartition(topic, partition))
        for partition in partitions_of(client, topic)
    }
    found: list[_Stretch] = []
    for partition, offset in wanted:
        low, high = there.get(partition, (0, 0))
        if not low <= offset < high:
            continue
        last = found[-1] if found else None
        if last is not None and last.partition == partition and offset - last.end < _NEAR:
            found[-1] = last._replace(end=offset + 1)
        else:
            found.append(_Stretch(partition, offset, offset + 1))
    return found


def _read(client: Consumer, topic: str, stretches: Iterable[_Stretch]) -> Iterator[Message]:
    """Read ranges one by one; offsets without a record are skipped."""
    for partition, start, end in stretches:
        yield from read_ranges(client, topic, {partition: (start, end)})
