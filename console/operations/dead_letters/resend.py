"""Builds and resends refused records, with the broker's confirmation.

A retry is sent to the partition of its origin, and names the origin, so that the stream processor
accepts at most one record per origin. Key, headers and bytes are the original ones, except for
corrections. Its Kafka timestamp is new: latency and retention count from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message

from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.events.dead_letter import Origin, headers_again
from millrace.contracts.events.window import decode_window
from millrace.contracts.headers import CONTENT_TYPE, ID, RawHeaders, content_type_of, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import partitions_of, producer
from millrace.infra.settings import Settings
from millrace.stream_processors.codec.packing import packed_headers

#: Time limits of a record's confirmation, by the broker and in the client, seconds.
_CONFIRM_SECONDS: Final = 30.0
_REPORT_SECONDS: Final = 5.0
_ROOM_SECONDS: Final = 0.1
#: Largest uncompressed record in the client: a device may have compressed its records.
_MOST_BARE_BYTES: Final = 256 << 20


@dataclass(frozen=True)
class Again:
    """A retry.

    Attributes:
        origin: The record that was refused first.
        key: Its key.
        value: Its value.
        headers: Its headers, with its origin.
    """

    origin: Origin
    key: bytes | None
    value: bytes
    headers: RawHeaders

    @property
    def packed(self) -> bytes:
        """Its headers in Kafka's form."""
        return packed_headers(self.headers)


@dataclass(frozen=True)
class Mend:
    """Corrections of a record; None keeps a part unchanged.

    Attributes:
        value: Replacement value.
        key: Replacement key.
        content_type: Replacement media type of the value.
    """

    value: bytes | None = None
    key: str | None = None
    content_type: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return any(part is not None for part in (self.value, self.key, self.content_type))


def again(
    origin: Origin, key: bytes | None, value: bytes, headers: RawHeaders, mend: Mend
) -> Again:
    """Build a retry.

    Args:
        origin: The record that was refused first.
        key: Key of the letter.
        value: Value of the letter.
        headers: Headers of the letter.
        mend: The corrections.

    Raises:
        DataError: The corrections do not make it a valid window.
    """
    made = headers_again(headers, origin)
    if not mend:
        return Again(origin, key, value, made)
    if mend.content_type is not None:
        made = _replaced(made, CONTENT_TYPE, mend.content_type.encode())
    value = value if mend.value is None else mend.value
    key = key if mend.key is None else mend.key.encode()
    try:
        window = decode_window(value, content_type_of(made))
    except InvalidRecord as problem:
        raise DataError(f"so mended, it is no window yet: {problem}") from problem
    if key != window.asset.encode():
        raise DataError(
            f"so mended, its key is {(key or b'').decode(errors='replace')!r} and its asset"
            f" {window.asset!r}; give --key {window.asset!r}, or name that asset in the window"
        )
    if header(made, ID) is not None:  # its id is derived from its content
        made = _replaced(made, ID, window.id.encode())
    return Again(origin, key, value, made)


class Resender:
    """Resends records; owned by one thread.

    Guarantee: after `confirmed`, all in-sync replicas have all of them, in order per partition.
    """

    def __init__(self, settings: Settings) -> None:
        """Create a producer.

        Raises:
            ServerError: No broker answers, or the topic is missing.
        """
        self._topic = settings.named(SENSOR_WINDOWS.name)
        self._handed = self._confirmed = 0
        self._refusal: str | None = None
        self._too_large = 0
        self._client = producer(
            settings,
            {
                "message.max.bytes": _MOST_BARE_BYTES,
                "delivery.timeout.ms": int(_CONFIRM_SECONDS * 1000),
            },
        )
        partitions_of(self._client, self._topic)

    def send(self, record: Again, on_confirmed: Callable[[int], None]) -> None:
        """Queue a record.

        Args:
            record: The record.
            on_confirmed: Called with its offset once the broker has confirmed it.

        Raises:
            ServerError: Kafka does not accept it.
        """

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._refusal = error.str()
                self._too_large += error.code() == KafkaError.MSG_SIZE_TOO_LARGE
                return
            self._confirmed += 1
            on_confirmed(message.offset() or 0)

        while True:
            try:
                self._client.produce(
                    self._topic,
                    record.value,
                    record.key,
                    partition=record.origin.partition,
                    headers=list(record.headers),
                    on_delivery=delivered,
                )
            except BufferError:  # the queue is full: let deliveries make room
                self._client.poll(_ROOM_SECONDS)
            except KafkaException as error:
                raise ServerError(f"Kafka did not take a record again: {error}") from error
            else:
                break
        self._handed += 1
        self._client.poll(0)

    def confirmed(self) -> None:
        """Wait until the broker has confirmed all records.

        Raises:
            DataError: A record is too large for the topic.
            ServerError: A record was not confirmed.
        """
        self._client.flush(_CONFIRM_SECONDS + _REPORT_SECONDS)
        if self._too_large:
            raise DataError(
                f"{self._too_large} of {self._handed} records do not fit into {self._topic}, which"
                f" takes {SENSOR_WINDOWS.max_bytes} bytes once compressed; the others were sent:"
                " have the device send smaller windows"
            )
        if self._confirmed < self._handed:
            raise ServerError(
                f"{self._handed - self._confirmed} of {self._handed} records were not confirmed"
                f" by Kafka: {self._refusal or 'no answer'}; send them again, which is safe:"
                " what was taken already has no second effect"
            )


def _replaced(headers: RawHeaders, name: str, value: bytes) -> RawHeaders:
    """Headers with one value for a case-insensitive name, at its position or else in front."""
    kept = [(known, said) for known, said in headers if known.lower() != name]
    place = next((i for i, (known, _) in enumerate(headers) if known.lower() == name), 0)
    return [*kept[:place], (name, value), *kept[place:]]
