"""What the bytes of a dead letter say, whatever they are."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.console.operations.dead_letters.content import MOST_HEX, content_of, hex_lines
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import encode_window, encode_window_json
from millrace.producers.sources.defects import REASONS, make_bad
from tests.builders import pump_window, stamped_window


@pytest.mark.parametrize("content_type", [None, JSON, MSGPACK, "text/csv"])
def test_a_window_is_read_whatever_its_header_says(content_type: str | None) -> None:
    """Both encodings; a wrong content-type is a reason for letters."""
    window = pump_window(3)
    for value in (encode_window(window), encode_window_json(window)):
        found = content_of(value, content_type)
        assert found.kind == "window"
        assert found.sensors == window.sensors
        assert found.facts["asset"] == "pump-1"
        assert found.readings[0][0] == pytest.approx(float(window.values[0, 0]))


def test_missing_and_infinite_readings_are_shown_as_such() -> None:
    """As JSON can say it: null, and words."""
    values = pump_window(0).values.copy()
    values[0] = [np.nan, np.inf, -np.inf]
    found = content_of(encode_window(pump_window(0, values=values)), MSGPACK)
    assert found.readings[0] == [None, "inf", "-inf"]
    msgspec.json.encode(found)


def test_a_time_that_no_calendar_has_is_told() -> None:
    """A wrong clock is a reason for letters."""
    body = msgspec.msgpack.decode(encode_window(pump_window(0)))
    found = content_of(msgspec.msgpack.encode({**body, "start_ms": 10**17}), MSGPACK)
    assert found.facts["starts"] == "no time in any calendar"


def test_a_window_of_inference_is_read() -> None:
    """Its readings in the units of its version, and the stamp."""
    window = stamped_window(pump_window(0), 7, version=3, epoch=4)
    found = content_of(msgspec.msgpack.encode(window), None)
    assert found.kind == "normalised window"
    assert (found.facts["version"], found.facts["source"]) == (3, "sensor.windows 0:7")
    assert len(found.readings) == 6


def test_other_documents_are_shown_as_they_are() -> None:
    """JSON and MessagePack that are no window, bytes inside of them cut."""
    assert content_of(b'{"flow": [1, null]}', JSON).document == {"flow": [1, None]}
    packed = msgspec.msgpack.encode({1: bytes(100), "t": float("nan")})
    found = content_of(packed, None)
    assert found.kind == "msgpack"
    assert found.document["1"].startswith("100 bytes: 00 00")
    assert found.document["t"] == "nan"


def test_what_is_no_document_is_dumped() -> None:
    """Its beginning, with the letters that are in it."""
    found = content_of(b"\xc1pump,1.5\n" * 100, "text/csv")
    assert found.kind == "bytes"
    assert len(found.hexdump) == MOST_HEX // 16
    assert found.hexdump[0].endswith(".pump,1.5..pump,")
    assert content_of(b"", None).kind == "nothing"
    assert hex_lines(b"\x00") == ["0000  00" + 45 * " " + "  ."]


@pytest.mark.parametrize("reason", REASONS)
def test_every_defect_can_be_looked_at(reason: str) -> None:
    """And answered in JSON."""
    for seed in range(4):
        made = make_bad(pump_window(0), reason, np.random.default_rng(seed))
        msgspec.json.encode(content_of(made.value, JSON))


@given(st.binary(max_size=200), st.sampled_from([None, JSON, MSGPACK]))
def test_any_bytes_can_be_looked_at(value: bytes, content_type: str | None) -> None:
    """Nothing in them is taken for granted."""
    msgspec.json.encode(content_of(value, content_type))


def test_deep_documents_can_be_looked_at() -> None:
    """A document that is nested too deeply to be read is bytes."""
    for value in (b"[" * 100_000, b"\x91" * 100_000):
        assert content_of(value, None).kind == "bytes"
