"""Dead letters: what is kept of a record, and that it is known again when it is sent again."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # no stubs among our tools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.dead_letter import (
    ORIGIN_OFFSET,
    ORIGIN_PARTITION,
    ORIGIN_TOPIC,
    REASON,
    Origin,
    dead_letter_headers,
    headers_again,
    names_an_origin,
    origin_of,
    original_headers,
)
from millrace.contracts.headers import CONTENT_TYPE, SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.wire.asyncapi import asyncapi

WINDOWS = "sensor.windows"
PROBLEM = InvalidRecord("unknown_sensor_set", "no model reads it")
ORIGINAL: RawHeaders = [("ce_id", b"w-1"), ("ce_id", b"w-2"), (CONTENT_TYPE, b"application/json")]


def refused(headers: RawHeaders, offset: int, partition: int = 3) -> RawHeaders:
    """Headers of the stream processor's letter about a record."""
    made = dead_letter_headers(
        headers, PROBLEM, topic=WINDOWS, partition=partition, offset=offset, timestamp_ms=1
    )
    return [*made, (SOURCE_OFFSET, b"%d" % offset)]


def test_original_headers_come_back() -> None:
    """Their order and repetitions too; only ours are gone."""
    assert original_headers(refused(ORIGINAL, 7)) == ORIGINAL


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_the_first_origin_is_kept_over_any_number_of_retries(steps: list[int]) -> None:
    """However often a record is refused and sent again, it says where it was refused first."""
    offset = first = 10
    headers = ORIGINAL
    for step in steps:
        letter = refused(headers, offset)
        headers = headers_again(letter, origin_of(letter, WINDOWS, 3, offset))
        offset += step
        assert origin_of(headers, WINDOWS, 3, offset) == Origin(WINDOWS, 3, first)
        assert [name for name, _ in headers].count(ORIGIN_OFFSET) == 1
        assert header(headers, REASON) is None
    assert headers[: len(ORIGINAL)] == ORIGINAL


def test_a_new_record_is_its_own_origin() -> None:
    """It was not sent before."""
    assert not names_an_origin(name for name, _ in ORIGINAL)
    assert origin_of(ORIGINAL, WINDOWS, 3, 9) == Origin(WINDOWS, 3, 9)


@pytest.mark.parametrize(
    ("topic", "partition", "offset"),
    [
        (b"predictions", b"3", b"4"),  # another topic's offsets mean something else
        (WINDOWS.encode(), b"2", b"4"),  # nobody here remembers another partition's
        (WINDOWS.encode(), b"3", b"9"),  # itself
        (WINDOWS.encode(), b"3", b"10"),  # one that will come, and would be passed over
        (WINDOWS.encode(), b"3", b"-1"),
        (WINDOWS.encode(), b"3", "\N{SUPERSCRIPT TWO}".encode()),
        (WINDOWS.encode(), b"3", b"\xff"),
        (WINDOWS.encode(), b"3", None),
        (None, b"3", b"4"),
        (WINDOWS.encode(), b"03", b"4"),
    ],
)
def test_an_origin_that_cannot_be_checked_is_refused(
    topic: bytes | None, partition: bytes, offset: bytes | None
) -> None:
    """Whoever says that it was sent before must say an earlier place of its partition."""
    said: Any = [(ORIGIN_TOPIC, topic), (ORIGIN_PARTITION, partition), (ORIGIN_OFFSET, offset)]
    with pytest.raises(InvalidRecord) as problem:
        origin_of([*ORIGINAL, *said], WINDOWS, 3, 9)
    assert problem.value.reason == "bad_origin"


@pytest.mark.parametrize("missing", [ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET])
def test_half_an_origin_is_refused(missing: str) -> None:
    """A record that says so in part is none that was never sent before."""
    headers = headers_again(ORIGINAL, Origin(WINDOWS, 3, 4))
    half = [(name, value) for name, value in headers if name != missing]
    assert names_an_origin(name for name, _ in half)
    with pytest.raises(InvalidRecord):
        origin_of(half, WINDOWS, 3, 9)


def as_document(headers: RawHeaders) -> dict[str, str]:
    """Headers as an AsyncAPI document describes them."""
    return {name: value.decode() for name, value in headers}


def test_letters_of_both_services_are_as_the_asyncapi_document_says() -> None:
    """Those of inference carry no source offset, by which the stream processor finds its way."""
    schema = asyncapi()["components"]["messages"]["dead_letter"]["headers"]
    of_inference = dead_letter_headers(
        [], PROBLEM, topic="sensor.windows.normalized", partition=0, offset=4, timestamp_ms=1
    )
    for letter in (refused(ORIGINAL, 7), of_inference):
        jsonschema.validate(as_document(letter), schema)
        spoiled = as_document(letter)
        del spoiled[REASON]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoiled, schema)


def test_windows_that_are_sent_again_are_as_the_asyncapi_document_says() -> None:
    """Their first origin is described."""
    schema = asyncapi()["components"]["messages"]["window_json"]["headers"]
    headers = headers_again([(CONTENT_TYPE, b"application/json")], Origin(WINDOWS, 3, 4))
    jsonschema.validate(as_document(headers), schema)
    assert {ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET} <= set(schema["properties"])
