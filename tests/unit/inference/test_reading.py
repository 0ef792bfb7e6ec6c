"""Records become windows, dead letters, or nothing where they come twice."""

from typing import cast

import msgspec
import pytest
from confluent_kafka import Message

from millrace.contracts.events.dead_letter import OFFSET, PARTITION, REASON, TOPIC
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.headers import header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MAX_DEAD_LETTER_BYTES,
    NORMALIZED,
    PREDICTIONS,
    SENSOR_WINDOWS,
)
from millrace.contracts.wire.cut_letter import cut_of
from millrace.contracts.wire.sizes import record_size, takes
from millrace.inference.batch.reading import read, unanswered
from tests.builders import START_MS, pump_window, source_of, stamped_window


class Fetched:
    """A message as the Kafka client hands it over."""

    def __init__(self, value: bytes | None, offset: int, partition: int) -> None:
        """Hold a value from a place."""
        self._value = value
        self._place = partition, offset

    def partition(self) -> int:
        """Where it comes from."""
        return self._place[0]

    def offset(self) -> int:
        """Its place there."""
        return self._place[1]

    def value(self) -> bytes | None:
        """The record's value."""
        return self._value

    def key(self) -> bytes:
        """The record's key."""
        return b"pump-1"

    def timestamp(self) -> tuple[int, int]:
        """Kind and milliseconds of the record's timestamp."""
        return 1, START_MS


def arrived(value: bytes | None, offset: int, partition: int = 0) -> Message:
    """A record that has come."""
    return cast(Message, Fetched(value, offset, partition))


def window(source_offset: int, partition: int = 0) -> NormalizedWindow:
    """A window of a source record."""
    return msgspec.structs.replace(
        stamped_window(pump_window(), source_offset), source=source_of(source_offset, partition)
    )


def packed(source_offset: int, partition: int = 0) -> bytes:
    """The same, on the wire."""
    return msgspec.msgpack.encode(window(source_offset, partition))


def test_windows_come_in_their_order() -> None:
    """Good records are windows, and tell how far each partition is answered and read."""
    records = [arrived(packed(3), 10), arrived(packed(1, 1), 7, 1), arrived(packed(4), 11)]
    reading = read(records, {0: 2})
    assert [(w.source.partition, w.source.offset) for w in reading.windows] == [
        (0, 3),
        (1, 1),
        (0, 4),
    ]
    assert reading.answered == {0: 4, 1: 1}
    assert reading.next_offsets == {0: 12, 1: 8}
    assert not reading.refused


def test_a_window_is_answered_once() -> None:
    """What was answered before, or stands twice in a batch, is passed over."""
    records = [arrived(packed(o), i) for i, o in enumerate([4, 5, 6, 6, 5, 7])]
    reading = read(records, {0: 4})
    assert [w.source.offset for w in reading.windows] == [5, 6, 7]
    assert reading.repeated == {0: 3}
    assert reading.next_offsets == {0: 6}


def test_reading_changes_nothing_that_it_was_given() -> None:
    """An aborted batch leaves what has been answered as it was."""
    answered = {0: 4}
    read([arrived(packed(5), 0)], answered)
    assert answered == {0: 4}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "undecodable"),
        (b"", "undecodable"),
        (b"{}", "undecodable"),
        (b"\xc1", "undecodable"),
        (packed(1)[:-3], "undecodable"),
        (msgspec.msgpack.encode({"asset": 1}), "undecodable"),
        (b"\x81\xa5asset\xa2\xff\xfe", "undecodable"),
        (packed(1, 3), "wrong_source"),
        (packed(-5), "wrong_source"),
    ],
)
def test_what_is_no_window_is_a_dead_letter(value: bytes | None, reason: str) -> None:
    """Bad records are put aside as they came; their neighbours are read."""
    reading = read([arrived(packed(1), 5), arrived(value, 6), arrived(packed(2), 7)], {})
    assert [w.source.offset for w in reading.windows] == [1, 2]
    assert reading.next_offsets == {0: 8}
    ((topic, key, kept, headers, partition),) = reading.refused
    assert (topic, key, kept, partition) == (DEAD_LETTERS.name, b"pump-1", value or b"", 0)
    said = [header(headers, name) for name in (REASON, TOPIC, PARTITION, OFFSET)]
    assert said == [reason, NORMALIZED.name, "0", "6"]


def test_a_window_without_an_answer_is_a_dead_letter_of_its_source() -> None:
    """It names the edge's record, so that it can be found and sent again."""
    problem = InvalidRecord("forecast_not_finite", "no number")
    topic, key, value, headers, partition = unanswered(window(9, 2), problem)
    assert (topic, key, partition) == (DEAD_LETTERS.name, b"pump-1", 2)
    assert msgspec.msgpack.decode(value, type=NormalizedWindow) == window(9, 2)
    said = [header(headers, name) for name in (REASON, TOPIC, PARTITION, OFFSET)]
    assert said == ["forecast_not_finite", SENSOR_WINDOWS.name, "2", "9"]


def test_a_letter_that_would_not_fit_is_cut() -> None:
    """Neither what somebody else wrote, nor a window of ours, stops a partition."""
    huge = b"x" * (DEAD_LETTERS.max_bytes + 1)
    (written,) = read([arrived(huge, 3)], {}).refused
    odd = msgspec.structs.replace(window(3), values=huge)
    for _, key, value, headers, _ in (written, unanswered(odd, InvalidRecord("x", "y"))):
        assert takes(DEAD_LETTERS, record_size(key, value, headers))
        cut = cut_of(headers)
        assert cut is not None
        assert cut.key is None
        assert cut.size >= len(huge)


def test_a_prediction_and_a_letter_fit_for_the_client_that_sends_them() -> None:
    """It refuses for good what is larger than its setting."""
    assert max(PREDICTIONS.max_bytes, DEAD_LETTERS.max_bytes) <= MAX_DEAD_LETTER_BYTES
