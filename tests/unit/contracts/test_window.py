"""Windows survive both encodings, and nothing else decodes."""

from contextlib import suppress

import hypothesis.extra.numpy as npst
import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import (
    SensorWindow,
    decode_window,
    encode_window,
    encode_window_json,
)
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.names import name_problem

NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name_problem(name) is None)


@st.composite
def sensor_windows(draw: st.DrawFn, *, infinite: bool = True) -> SensorWindow:
    """Draw a window of any shape, with readings of all sorts."""
    sensors = tuple(draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)))
    shape = (draw(st.integers(1, 20)), len(sensors))
    readings = st.floats(width=32, allow_nan=True, allow_infinity=infinite)
    return SensorWindow(
        draw(NAMES),
        sensors,
        draw(st.integers(-(1 << 62), 1 << 62)),
        draw(st.floats(0.001, 1e6)),
        draw(npst.arrays(np.float32, shape, elements=readings)),
        draw(st.text(max_size=8)),
    )


def same(one: SensorWindow, other: SensorWindow) -> bool:
    """Compare two windows, missing readings equal."""
    return (
        np.array_equal(one.values, other.values, equal_nan=True)
        and one.values.shape == other.values.shape
        and [getattr(one, f) == getattr(other, f) for f in one.__struct_fields__ if f != "values"]
        == [True] * (len(one.__struct_fields__) - 1)
        and one.id == other.id
    )


@given(sensor_windows())
def test_messagepack_round_trip(window: SensorWindow) -> None:
    """A window comes back from MessagePack bit by bit, with its id."""
    assert same(decode_window(encode_window(window), MSGPACK), window)


@given(sensor_windows(infinite=False))
def test_json_round_trip(window: SensorWindow) -> None:
    """A window comes back from JSON, missing readings as null in between."""
    data = encode_window_json(window)
    assert same(decode_window(data, JSON), window)


@given(st.binary(max_size=300), st.sampled_from([MSGPACK, JSON, "", "text/plain"]))
@example(b'{"x":' + b"[" * 100_000, JSON)
@example(b"\x81\xa1x" + b"\x91" * 100_000 + b"\x01", MSGPACK)
@example(b"\x81\xa5asset\xa1\xff", MSGPACK)
def test_arbitrary_bytes_are_a_finding(data: bytes, content_type: str) -> None:
    """Whatever bytes arrive, decoding either gives a window or says why not."""
    with suppress(InvalidRecord):
        assert isinstance(decode_window(data, content_type), SensorWindow)


@given(sensor_windows(), st.sampled_from([MSGPACK, JSON]), st.data())
def test_truncated_bytes_never_decode(
    window: SensorWindow, content_type: str, data: st.DataObject
) -> None:
    """A record that was cut anywhere is undecodable."""
    whole = encode_window(window) if content_type == MSGPACK else encode_window_json(window)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(InvalidRecord) as found:
        decode_window(cut, content_type)
    assert found.value.reason == "undecodable"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": b"\0" * 7}, "wrong_shape"),
        ({"values": b""}, "wrong_shape"),
        ({"sensors": []}, "wrong_shape"),
        ({"v": 2}, "unknown_schema_version"),
        ({"start_ms": "soon"}, "undecodable"),
    ],
)
def test_reason_of_a_bad_body(change: dict[str, object], reason: str) -> None:
    """Each way in which a body can be wrong has its own word."""
    good = SensorWindow("a", ("x", "y"), 0, 1.0, np.ones((3, 2), np.float32))
    body = msgspec.msgpack.decode(encode_window(good))
    with pytest.raises(InvalidRecord) as found:
        decode_window(msgspec.msgpack.encode({**body, **change}), MSGPACK)
    assert found.value.reason == reason


def test_json_beyond_float32_is_infinite() -> None:
    """1e300 in JSON decodes as infinite, without a warning, for validation to name."""
    data = (
        b'{"asset":"a","sensors":["x"],"start_ms":0,"period_seconds":1,"values":[[1e300],[-1e300]]}'
    )
    assert decode_window(data, JSON).values[:, 0].tolist() == [np.inf, -np.inf]


def test_end_is_one_period_after_the_last_sample() -> None:
    """A forecast begins where the window's readings end."""
    window = SensorWindow("a", ("x",), 1_000, 0.5, np.zeros((4, 1), np.float32))
    assert window.end_ms == 3_000
