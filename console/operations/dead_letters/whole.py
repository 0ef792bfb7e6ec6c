"""Finds the whole record of a dead letter, including a truncated one.

    letter holds all of it ─────────────────────────────► as it is
    cut ─► object store, compared with its digest ──────► whole value
       └─► source topic, compared with its digest ──────► whole record, until its retention
       └─► neither ─────────────────────────────────────► `DataError`, which says both reasons

Data from the object store or the topic is used only if its digest equals the letter's.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from confluent_kafka import Message

from millrace.console.operations.dead_letters.letter import Letter
from millrace.console.operations.dead_letters.topic import bytes_of, headers_in, read_record
from millrace.contracts.errors import DataError, ServerError
from millrace.contracts.headers import RawHeaders
from millrace.contracts.wire.cut_letter import Cut, cut_of, object_key
from millrace.infra.settings import Settings


class Whole(NamedTuple):
    """The original record; its headers may be those of its letter."""

    key: bytes | None
    value: bytes
    headers: RawHeaders


def record_of(message: Message) -> Whole:
    """The record as contained in the letter itself."""
    return Whole(bytes_of(message.key()), bytes_of(message.value()) or b"", headers_in(message))


def whole(settings: Settings, letter: Letter, message: Message) -> Whole:
    """Find a letter's whole record.

    Raises:
        DataError: The letter contains only a part, and the rest is not available any more.
        ServerError: Kafka does not answer.
    """
    found = record_of(message)
    cut = cut_of(found.headers)
    if cut is None:
        return found
    try:
        return found._replace(value=_stored(settings, letter, cut))
    except (DataError, ServerError) as error:
        why = str(error)
    source = read_record(settings, letter.source)
    if source is not None:
        came = record_of(source)
        if sha256(came.value).hexdigest() == cut.sha256:
            return came
    raise DataError(
        f"dead letter {letter.place} holds {len(found.value)} of {cut.size} bytes, and the whole"
        f" record cannot be had: {why}; and {letter.source.topic} {letter.source.partition}:"
        f"{letter.source.offset} is not there any more; `retry --value FILE` sends other bytes"
    )


def _stored(settings: Settings, letter: Letter, cut: Cut) -> bytes:
    """Read the whole value from the object store, even if the letter states that it is not there.

    Raises:
        DataError: It is missing, altered or incomplete.
        ServerError: The store does not answer.
    """
    from millrace.infra.object_store import ObjectStore  # noqa: PLC0415  (a bare installation has none)

    if not cut.is_value_alone:
        raise DataError("its key or headers were too large, too, and are not in the object store")
    return ObjectStore(settings).get(cut.key or object_key(*letter.source), digest=cut.sha256)
