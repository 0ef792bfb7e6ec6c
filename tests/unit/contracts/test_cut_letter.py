"""A dead letter that would be too large is cut, fits, and says what it was."""

from hashlib import sha256

import pytest

from millrace.contracts.events.dead_letter import (
    HEADERS_BYTES,
    KEY_BYTES,
    ORIGIN_OFFSET,
    VALUE_HEAD,
    VALUE_NOTE,
    VALUE_OBJECT,
    Origin,
    dead_letter_headers,
    headers_again,
    original_headers,
)
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, MAX_BATCH_BYTES
from millrace.contracts.wire.cut_letter import HEAD_BYTES, Cut, cut_letter, cut_of, object_key
from millrace.contracts.wire.sizes import record_size, takes

TYPED: RawHeaders = [(CONTENT_TYPE, b"application/json")]
KEY = f"dead-letters/sensor.windows/3/{417:020}"


def letter_headers(original: RawHeaders) -> RawHeaders:
    """Headers of a letter."""
    problem = InvalidRecord("oversized", "x" * 5000)
    return dead_letter_headers(
        original, problem, topic="sensor.windows", partition=3, offset=417, timestamp_ms=1
    )


def test_a_cut_letter_says_what_its_value_was() -> None:
    """Its size, its digest, how much is here, and where the rest is."""
    value = bytes(range(256)) * 1000
    assert object_key("sensor.windows", 3, 417) == KEY
    cut = cut_letter(b"pump-1", value, letter_headers(TYPED), KEY)
    assert (cut.key, cut.value) == (b"pump-1", value[:HEAD_BYTES])
    assert cut_of(cut.headers) == Cut(len(value), sha256(value).hexdigest(), KEY, True)
    assert header(cut.headers, VALUE_HEAD) == str(HEAD_BYTES)
    assert header(cut.headers, VALUE_OBJECT) == KEY
    assert original_headers(cut.headers) == TYPED


def test_a_value_that_is_not_stored_is_told() -> None:
    """There is no key, and a note says where it still is."""
    cut = cut_letter(None, b"x", letter_headers([]), None)
    found = cut_of(cut.headers)
    assert found is not None
    assert found.key is None
    assert "until its retention" in (header(cut.headers, VALUE_NOTE) or "")


@pytest.mark.parametrize(
    ("key", "original"),
    [
        (bytes(MAX_BATCH_BYTES // 4), TYPED),
        (b"k", [*TYPED, ("big", bytes(MAX_BATCH_BYTES // 4))]),
        (b"k", [*TYPED, *((f"h{number}", bytes(99)) for number in range(50_000))]),
        (b"k", [*TYPED, ("n" * (6 << 20), b"")]),
        (b"k", TYPED * 60_000),
    ],
)
def test_a_cut_letter_fits_whatever_it_was(key: bytes, original: RawHeaders) -> None:
    """A key and headers are cut, too; its origin and its type stay, which a retry needs."""
    original = headers_again(original, Origin("sensor.windows", 3, 40))
    headers = letter_headers(original)
    assert not takes(DEAD_LETTERS, record_size(key, bytes(5 << 20), headers))
    cut = cut_letter(key, bytes(5 << 20), headers, KEY)
    assert takes(DEAD_LETTERS, record_size(*cut))
    assert header(cut.headers, CONTENT_TYPE) == "application/json"
    assert header(cut.headers, ORIGIN_OFFSET) == "40"
    found = cut_of(cut.headers)
    assert found is not None
    is_more = header(cut.headers, KEY_BYTES) or header(cut.headers, HEADERS_BYTES)
    assert found.is_value_alone == (is_more is None)


def test_a_sender_cannot_say_that_its_letter_is_cut() -> None:
    """What it sends under our names is no header of its letter."""
    forged = cut_letter(None, b"x", letter_headers([]), KEY).headers
    assert cut_of(letter_headers(forged)) is None
