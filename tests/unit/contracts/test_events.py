"""JSON events survive the wire; anything else is a finding, never an exception."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.clock import event_time, to_ms
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.headers import header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.wire.codec import EventReader, encode, headers_of
from millrace.registry.decisions import declare

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
ENTRY = LedgerEntry("pumps", 3, 2, 1, 41, AT)
SPEC = ModelSpec("pumps", ("flow",), 60.0, 32, 8, 8, targets=("flow",))

READ_EVENT = EventReader[ModelEvent](ModelEvent)
READ_ENTRY = EventReader[LedgerEntry](LedgerEntry)


def test_events_round_trip() -> None:
    """What is written is read."""
    assert READ_ENTRY(encode(ENTRY)) == ENTRY
    for event in declare(SPEC, AT):
        assert READ_EVENT(encode(event)) == event


def test_headers_follow_cloudevents() -> None:
    """The binary mode's attributes are there, under their names."""
    headers = headers_of(ENTRY, "/millrace/test", AT)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"pumps/3/2",
        "ce_type": b"millrace.ledger-entry.v1",
        "ce_source": b"/millrace/test",
        "ce_time": b"2026-03-01T12:30:15.250Z",
        "content-type": b"application/json",
    }
    assert header(headers, "ce_id") == "pumps/3/2"
    assert header([("x", b"\xff")], "x") is None
    assert header(None, "x") is None


@given(st.one_of(st.binary(max_size=200), st.just(b'{"x":' + b"[" * 100_000)))
def test_arbitrary_bytes_are_a_finding(data: bytes) -> None:
    """Whatever a topic holds, its reader is told, not stopped."""
    with pytest.raises(InvalidRecord) as found:
        READ_EVENT(data)
    assert found.value.reason == "undecodable"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"scale":[1.0]', b'"scale":[0.0]'),
        (b'"sensors":["flow"]', b'"sensors":[]'),
        (b'"targets":["flow"]', b'"targets":["heat"]'),
        (b"T12:30:15.250000Z", b"T12:30:15.250000"),
    ],
)
def test_impossible_content_is_a_finding(before: bytes, after: bytes) -> None:
    """Units, a task or a time that cannot be are refused like a syntax error."""
    data = encode(declare(SPEC, AT)[0])
    assert before in data
    with pytest.raises(InvalidRecord):
        READ_EVENT(data.replace(before, after))


@given(st.integers(0, 4_102_444_800_000))
def test_event_time_round_trip(milliseconds: int) -> None:
    """Milliseconds go to a moment and back without a change."""
    assert to_ms(event_time(milliseconds)) == milliseconds
