"""Cuts a dead letter that would not fit into `dead.letters` to the head of its value.

The letter states the value's size and SHA-256, and the size of the head. The whole value is in the
object store, under a key derived from the place of the record; if the store did not accept it in
time, the letter notes that, and the value is in the source topic until its retention.

    value ─► fits? ─► an ordinary letter
                └─► object store ─► head of the value + size, digest, key
                            └─ no answer ─► head of the value + size, digest, note

A key or headers that are themselves too large are cut, too: the names of headers stay, and the
letter states the original size. Their full content is only in the source topic.

>>> letter = cut_letter(b"pump-1", b"x" * 9, [], object_key("sensor.windows", 3, 417), head_bytes=4)
>>> letter.value, cut_of(letter.headers).size, cut_of(letter.headers).key
(b'xxxx', 9, 'dead-letters/sensor.windows/3/00000000000000000417')
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from millrace.contracts.events.dead_letter import (
    HEADERS_BYTES,
    KEY_BYTES,
    OURS,
    VALUE_BYTES,
    VALUE_HEAD,
    VALUE_NOTE,
    VALUE_OBJECT,
    VALUE_SHA256,
    names_an_origin,
)
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders, header
from millrace.contracts.wire.sizes import headers_size

#: Bytes of a value, and of a key, in a cut letter.
HEAD_BYTES: Final = 64 << 10
#: Largest total size of original headers in a letter, and of one of their values if they exceed it.
MOST_HEADERS: Final = 1 << 20
MOST_HEADER_VALUE: Final = 256
_UNSTORED: Final = "the value is not in the object store; it is in its topic until its retention"


class CutLetter(NamedTuple):
    """A cut letter: key, value and headers of the record to write."""

    key: bytes | None
    value: bytes
    headers: RawHeaders


class Cut(NamedTuple):
    """A cut letter's description of the original record.

    Attributes:
        size: Bytes of its value.
        sha256: Digest of its value, hexadecimal.
        key: Key of its value in the object store; None if it is not there.
        is_value_alone: Whether nothing but the value was cut.
    """

    size: int
    sha256: str
    key: str | None
    is_value_alone: bool


def object_key(topic: str, partition: int, offset: int) -> str:
    """Object key of a record's whole value."""
    return f"dead-letters/{topic}/{partition}/{offset:020}"


def cut_letter(
    key: bytes | None,
    value: bytes,
    headers: RawHeaders,
    stored: str | None,
    *,
    head_bytes: int = HEAD_BYTES,
) -> CutLetter:
    """Cut a letter so that it fits.

    Args:
        key: The record's key.
        value: The record's value.
        headers: The letter's headers; see `contracts.events.dead_letter.dead_letter_headers`.
        stored: Key of the value in the object store; None if it is not there.
        head_bytes: Bytes of the value that are kept.
    """
    facts = {
        VALUE_BYTES: str(len(value)),
        VALUE_SHA256: sha256(value).hexdigest(),
        VALUE_HEAD: str(min(len(value), head_bytes)),
    }
    facts |= {VALUE_NOTE: _UNSTORED} if stored is None else {VALUE_OBJECT: stored}
    if key is not None and len(key) > HEAD_BYTES:
        facts[KEY_BYTES] = str(len(key))
        key = key[:HEAD_BYTES]
    ours = [pair for pair in headers if pair[0] in OURS]
    original = [pair for pair in headers if pair[0] not in OURS]
    if (size := headers_size(original)) > MOST_HEADERS:
        facts[HEADERS_BYTES] = str(size)
        original = _within(original)
    said = [(name, text.encode()) for name, text in facts.items()]
    return CutLetter(key, value[:head_bytes], [*original, *ours, *said])


def cut_of(headers: RawHeaders) -> Cut | None:
    """Read a cut letter's description of its record; None if the letter is complete."""
    size, digest = header(headers, VALUE_BYTES), header(headers, VALUE_SHA256)
    if size is None or digest is None or not (size.isascii() and size.isdecimal()):
        return None
    others = [header(headers, KEY_BYTES), header(headers, HEADERS_BYTES)]
    return Cut(int(size), digest, header(headers, VALUE_OBJECT), others == [None, None])


def _within(headers: RawHeaders) -> RawHeaders:
    """Cut headers' values; drop headers beyond the limit, except those that a retry needs."""
    left = MOST_HEADERS
    kept: RawHeaders = []
    seen: set[str] = set()
    for name, value in reversed(headers):  # the last header of a name counts
        pair = name, (value or b"")[:MOST_HEADER_VALUE]
        needed = name.lower() == CONTENT_TYPE or names_an_origin([name])
        size = headers_size([pair])
        if size <= left or (needed and name.lower() not in seen):
            kept.append(pair)
            left -= size
        if needed:
            seen.add(name.lower())
    return kept[::-1]
