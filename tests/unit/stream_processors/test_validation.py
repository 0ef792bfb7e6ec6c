"""Which records are windows: every reason, its neighbours, and whatever else may come."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders, header
from millrace.contracts.ids import window_id
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.names import MAX_NAME_BYTES, MAX_SENSORS
from millrace.contracts.topics import MAX_WINDOW_BYTES, NORMALIZED
from millrace.producers.sources.defects import REASONS, make_bad
from millrace.registry.decisions import declare
from millrace.registry.state import Model, Registry
from millrace.stream_processors.windows.decode import EARLIEST_MS, LATEST_AHEAD_MS, decode_windows
from millrace.stream_processors.windows.validation import LARGEST, judge
from tests.builders import (
    AT,
    START_MS,
    WindowRecord,
    pump_spec,
    pump_window,
    registered,
    registry_of,
    window_record,
)

REGISTRY = registry_of()
NOW_MS = START_MS + 86_400_000
PACKED: RawHeaders = [(CONTENT_TYPE, MSGPACK.encode())]
PLAIN: RawHeaders = [(CONTENT_TYPE, JSON.encode())]


@dataclass(frozen=True)
class Accepted:
    """A window that was accepted, alone in its batch."""

    asset: str
    window_id: str
    model: Model
    filled: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]


def validate(
    key: bytes | None,
    value: bytes | None,
    headers: RawHeaders,
    registry: Registry = REGISTRY,
) -> Accepted:
    """Judge a record as a batch of one; raise why it is refused."""
    judgement = judge([WindowRecord(value, key, 0, headers=headers)], registry, NOW_MS)
    if judgement.refused:
        assert judgement.refused.keys() == {0}
        assert judgement.blocks == []
        raise judgement.refused[0]
    (block,) = judgement.blocks
    (body,) = block.bodies
    return Accepted(
        body.asset,
        window_id(body.asset, block.model.spec.sensor_set, body.start_ms, body.segment),
        block.model,
        block.filled[0],
        block.present[0],
    )


def judge_one(
    window: SensorWindow | None = None,
    *,
    key: bytes | None = b"pump-1",
    value: bytes | None = None,
    headers: RawHeaders | None = None,
) -> Accepted:
    """Validate a record; a good one where nothing else is said."""
    data = encode_window(window or pump_window()) if value is None else value
    return validate(key, data, PACKED if headers is None else headers)


def reason_of(window: SensorWindow | None = None, **record: Any) -> str:
    """Why a record is refused."""
    with pytest.raises(InvalidRecord) as refused:
        judge_one(window, **record)
    assert refused.value.detail
    return refused.value.reason


def reason_if_refused(**record: Any) -> str | None:
    """Why a record is refused; None if it is a window. Nothing else may happen."""
    try:
        judge_one(**record)
    except InvalidRecord as problem:
        return problem.reason
    return None


def with_fields(**fields: Any) -> bytes:
    """A good window's MessagePack with other fields."""
    return msgspec.msgpack.encode(
        {**msgspec.msgpack.decode(encode_window(pump_window())), **fields}
    )


def with_reading(value: float) -> SensorWindow:
    """A good window with one other reading."""
    values = pump_window().values.copy()
    values[2, 1] = value
    return pump_window(values=values)


@pytest.mark.parametrize("headers", [PACKED, PLAIN])
def test_a_good_window_is_accepted_in_both_encodings(headers: RawHeaders) -> None:
    """A good window is handed on as it came, with its model, and all sensors present."""
    window = pump_window()
    data = encode_window(window) if headers is PACKED else encode_window_json(window)
    accepted = judge_one(value=data, headers=headers)
    assert accepted.model.spec == pump_spec()
    assert accepted.window_id == window.id
    assert accepted.present.all()
    np.testing.assert_array_equal(accepted.filled, window.values)


@pytest.mark.parametrize("key", [None, b""])
def test_empty_key(key: bytes | None) -> None:
    """A record without a key is refused: the key orders an asset's windows."""
    assert reason_of(key=key) == "empty_key"


def test_key_of_another_asset() -> None:
    """A key that is not the window's asset is refused."""
    assert reason_of(key=b"pump-2") == "key_mismatch"


def test_no_value() -> None:
    """A tombstone is no window."""
    with pytest.raises(InvalidRecord, match="undecodable"):
        validate(b"pump-1", None, PACKED)


def test_largest_size() -> None:
    """A record of the largest size is judged further; one byte more is oversized."""
    assert reason_of(value=b"\0" * MAX_WINDOW_BYTES) == "undecodable"
    assert reason_of(value=b"\0" * (MAX_WINDOW_BYTES + 1)) == "oversized"


@pytest.mark.parametrize("headers", [[], [(CONTENT_TYPE, b"text/csv")], [(CONTENT_TYPE, b"\xff")]])
def test_wrong_content_type(headers: RawHeaders) -> None:
    """What the bytes are has to be said, in a word that we know."""
    assert reason_of(headers=headers) == "wrong_content_type"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        encode_window(pump_window())[:-5],
        b"[" * 200_000,
        b"\x91" * 200_000,
        b'{"x":' + b"[" * 200_000,
        b'{"start_ms":' + b"9" * 10_000 + b"}",
        b'{"asset":"\\ud800"}',
        b"\x81\xa1\xff\xc0",
        with_fields(asset=None),
    ],
)
@pytest.mark.parametrize("headers", [PACKED, PLAIN])
def test_undecodable(value: bytes, headers: RawHeaders) -> None:
    """Torn, nested and malformed bytes are refused in either encoding."""
    assert reason_of(value=value, headers=headers) == "undecodable"


def test_unknown_schema_version() -> None:
    """A window of a later schema is not guessed at."""
    assert reason_of(value=with_fields(v=2)) == "unknown_schema_version"


@pytest.mark.parametrize("period", [0.0, -60.0, math.inf, -math.inf, math.nan])
def test_bad_period(period: float) -> None:
    """A period that is not a positive number is refused."""
    assert reason_of(value=with_fields(period_seconds=period)) == "bad_period"


def test_implausible_times() -> None:
    """Moments before 2000 and more than a day ahead are refused, those within are not."""
    for start_ms in (EARLIEST_MS - 1, NOW_MS + LATEST_AHEAD_MS + 1, 0, -(10**30), 10**30):
        body = msgspec.json.decode(encode_window_json(pump_window()))
        value = msgspec.json.encode({**body, "start_ms": "@"})
        value = value.replace(b'"@"', str(start_ms).encode())
        assert reason_of(value=value, headers=PLAIN) == "implausible_time"
    for start_ms in (EARLIEST_MS, NOW_MS + LATEST_AHEAD_MS):
        judge_one(value=with_fields(start_ms=start_ms))


def test_shapes() -> None:
    """Rows of another width, and windows of another length, are of a wrong shape."""
    assert reason_of(value=with_fields(values=b"\0" * 71)) == "wrong_shape"
    assert reason_of(value=with_fields(values=b"")) == "wrong_shape"
    assert reason_of(value=with_fields(sensors=[])) == "wrong_shape"
    assert reason_of(pump_window(values=pump_window().values[:-1])) == "wrong_shape"


def test_unknown_sensors() -> None:
    """A sensor set that no model reads, an order of it, or another period, is refused."""
    names = ["flow", "pressure", "temperature"]
    assert reason_of(value=with_fields(sensors=["a", "b", "c"])) == "unknown_sensor_set"
    assert reason_of(value=with_fields(sensors=names[::-1])) == "unknown_sensor_set"
    assert reason_of(value=with_fields(period_seconds=61.0)) == "unknown_sensor_set"


def test_a_model_that_serves_nothing_reads_nothing() -> None:
    """Registered is not serving: its windows are refused until a version is active."""
    registry = registry_of(specs=[pump_spec("other", window=9)])
    registry.apply(registered(0))
    with pytest.raises(InvalidRecord):
        validate(b"pump-1", encode_window(pump_window()), PACKED, registry)


def test_infinite_readings() -> None:
    """An infinity, of either sign, is refused; so is a JSON number too large for a float32."""
    assert reason_of(with_reading(math.inf)) == "not_finite"
    assert reason_of(with_reading(-math.inf)) == "not_finite"
    body = msgspec.json.decode(encode_window_json(pump_window()))
    body["values"][0][0] = 1e300
    assert reason_of(value=msgspec.json.encode(body), headers=PLAIN) == "not_finite"


def test_readings_beyond_any_unit() -> None:
    """Readings beyond `LARGEST` are refused, those below are not."""
    assert reason_of(with_reading(LARGEST * 1.01)) == "out_of_range"
    assert reason_of(with_reading(-LARGEST * 1.01)) == "out_of_range"
    judge_one(with_reading(LARGEST * 0.99))


def test_missing_targets() -> None:
    """A window is refused when no target is present, and only then."""
    values = pump_window().values.copy()
    values[:2, 0] = np.nan  # a third of the samples: more than may be missing
    values[:, 1] = np.nan  # not a target
    accepted = judge_one(pump_window(values=values))
    assert accepted.present.tolist() == [False, False, True]
    assert not np.isnan(accepted.filled).any()
    values[:2, 2] = np.nan
    assert reason_of(pump_window(values=values)) == "too_many_missing"


def test_a_small_gap_is_closed() -> None:
    """A gap within the rule is filled from the reading before it, and its sensor is present."""
    accepted = judge_one(with_reading(math.nan))
    assert accepted.present.all()
    assert accepted.filled[2, 1] == pump_window().values[1, 1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reason", REASONS)
def test_defects_of_the_edge_are_named(reason: str, seed: int) -> None:
    """Each defect that the edge's generator knows is refused for that reason."""
    bad = make_bad(pump_window(), reason, np.random.default_rng(seed))
    with pytest.raises(InvalidRecord) as refused:
        validate(bad.key, bad.value, bad.headers)
    assert refused.value.reason == reason


HEADERS = st.lists(
    st.tuples(
        st.sampled_from([CONTENT_TYPE, "ce_id"]),
        st.sampled_from([MSGPACK.encode(), JSON.encode()]) | st.binary(max_size=8) | st.none(),
    ),
    max_size=3,
)


@settings(max_examples=300)
@given(key=st.none() | st.binary(max_size=8), value=st.none() | st.binary(), headers=HEADERS)
def test_any_bytes_are_accepted_or_refused(
    key: bytes | None, value: bytes | None, headers: RawHeaders
) -> None:
    """Whatever comes, the answer is a window or a reason, never another exception."""
    try:
        asset = validate(key, value, headers).asset.encode()
        reason = ""
    except InvalidRecord as problem:
        asset, reason = b"", problem.reason
    assert reason or asset == key


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
FIELDS = st.dictionaries(
    st.sampled_from(["asset", "sensors", "start_ms", "period_seconds", "values", "segment", "v"]),
    VALUES | st.lists(VALUES, max_size=4) | st.lists(st.lists(VALUES, max_size=4), max_size=4),
    max_size=3,
)


@settings(max_examples=300)
@given(fields=FIELDS, cut=st.integers(0, 200) | st.none())
def test_any_spoiled_window_is_accepted_or_refused(fields: dict[str, Any], cut: int | None) -> None:
    """A window with any other fields, cut anywhere: a window or a reason, nothing else."""
    try:
        value = with_fields(**fields)[:cut]
    except OverflowError:  # the number has no MessagePack form: no device could send it
        return
    assert reason_if_refused(value=value) != ""


@settings(max_examples=200)
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=18, max_size=18))
def test_accepted_readings_are_numbers(flat: list[float]) -> None:
    """Whatever readings come, those that are handed on are finite."""
    window = pump_window(values=np.array(flat, np.float32).reshape(6, 3))
    reason = reason_if_refused(window=window)
    assert reason in {None, "not_finite", "out_of_range", "too_many_missing"}
    assert reason is not None or np.isfinite(judge_one(window).filled).all()


#: Windows by their form.
WELL_FORMED = ("good", "gaps", "other", "period", "short", "joined")


@st.composite
def any_batch(
    draw: st.DrawFn, kinds: Sequence[str] = (*WELL_FORMED, *REASONS)
) -> list[WindowRecord]:
    """Good windows, gappy ones and every kind of bad ones, of two models."""
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    records: list[WindowRecord] = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=12)):
        offset = len(records)
        values = pump_window(3 * offset).values.copy()
        if kind == "gaps":
            values[rng.random(values.shape) < 0.3] = np.nan
        if kind == "other":
            window = pump_window(3 * offset, values=np.concatenate([values, values]))
            records.append(window_record(window, offset))
        elif kind in ("period", "short"):  # nearly the model's period; no model reads the short one
            plain = pump_window(3 * offset, values=values if kind == "period" else values[:-1])
            period = draw(st.sampled_from([60.0, 60.0000001]))
            records.append(
                window_record(msgspec.structs.replace(plain, period_seconds=period), offset)
            )
        elif kind == "joined":  # one sensor whose name has the id of several
            plain = pump_window(3 * offset, values=values[:, :1])
            one = msgspec.structs.replace(plain, sensors=("\x1f".join(plain.sensors),))
            records.append(window_record(one, offset))
        elif kind in REASONS:
            made = make_bad(pump_window(3 * offset), kind, rng)
            records.append(WindowRecord(made.value, made.key, offset, headers=made.headers))
        else:
            records.append(window_record(pump_window(3 * offset, values=values), offset))
    return records


@settings(max_examples=200)
@given(records=any_batch())
def test_a_batch_is_judged_as_its_records_one_by_one(records: list[WindowRecord]) -> None:
    """Windows, reasons and readings agree, bit for bit; every row is in one place."""
    registry = registry_of(specs=[pump_spec(), pump_spec("long", window=12)])
    together = judge(records, registry, NOW_MS)
    rows = [row for block in together.blocks for row in block.rows]
    assert sorted([*rows, *together.refused]) == list(range(len(records)))
    for row, problem in together.refused.items():
        alone = judge([records[row]], registry, NOW_MS)
        assert str(alone.refused[0]) == str(problem)
    for block in together.blocks:
        for place, row in enumerate(block.rows):
            (alone_block,) = judge([records[row]], registry, NOW_MS).blocks
            assert alone_block.model is block.model
            assert alone_block.bodies[0] == block.bodies[place]
            for name in ("values", "filled", "present"):
                ours, alones = getattr(block, name)[place], getattr(alone_block, name)[0]
                assert ours.tobytes() == alones.tobytes()


@settings(max_examples=200)
@given(records=any_batch(WELL_FORMED) | any_batch())
def test_columns_tell_what_each_record_tells(records: list[WindowRecord]) -> None:
    """A batch of good windows is read column by column; with another record in it, it is not."""
    stranger = WindowRecord(b"", b"", len(records))
    refused: dict[int, InvalidRecord] = {}
    refused_beside: dict[int, InvalidRecord] = {}
    together = decode_windows(records, NOW_MS, refused)
    beside = decode_windows([*records, stranger], NOW_MS, refused_beside)
    assert refused_beside.pop(len(records)).reason == "empty_key"
    assert {row: str(problem) for row, problem in refused.items()} == {
        row: str(problem) for row, problem in refused_beside.items()
    }
    if not any(header(record.headers, CONTENT_TYPE) == JSON for record in records):
        assert isinstance(together.rows, range) == (bool(records) and not refused)
    assert [*together.rows] == [*beside.rows]
    assert together.bodies == beside.bodies
    assert together.layouts == beside.layouts


BAD_NAMES = ["a" * 256, "\u4e00" * 86, " \t", "\u3000", "pump\x00", "pump\x1f1"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("headers", [PACKED, PLAIN])
def test_a_name_is_neither_too_long_nor_blank_nor_a_separator(
    name: str, headers: RawHeaders
) -> None:
    """Of the asset, of a segment, of a sensor; in both encodings."""
    encode = encode_window if headers is PACKED else encode_window_json
    good = pump_window()
    asset = encode(msgspec.structs.replace(good, asset=name))
    assert reason_of(key=name.encode(), value=asset, headers=headers) == "bad_name"
    segment = encode(msgspec.structs.replace(good, segment=name))
    assert reason_of(value=segment, headers=headers) == "bad_name"
    sensors = encode(msgspec.structs.replace(good, sensors=("flow", name, "temperature")))
    assert reason_of(value=sensors, headers=headers) == "bad_name"


def test_a_name_of_control_characters_is_taken() -> None:
    """Whoever prints it escapes it; and a name may have as many bytes as its bound says."""
    for name in ("pump\x1b[41m\x07", "two\nlines", "a" * 255, "\u4e00" * 85):
        assert judge_one(pump_window(asset=name), key=name.encode()).asset == name


def test_a_window_has_not_too_many_sensors() -> None:
    """Its outputs have a largest size."""
    names = tuple(f"s{number}" for number in range(1025))
    window = SensorWindow("pump-1", names, START_MS, 60.0, np.zeros((1, 1025), "f4"))
    assert reason_of(window) == "bad_name"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("content-type", "application/json; charset=utf-8"),
        ("content-type", "Application/Json"),
        ("Content-Type", "application/json"),
        ("CONTENT-TYPE", " application/json;q=1"),
    ],
)
def test_a_content_type_is_read_as_media_types_are(name: str, said: str) -> None:
    """Parameters, and the case of its value and of its header's name, do not matter."""
    value = encode_window_json(pump_window())
    assert judge_one(value=value, headers=[(name, said.encode())]).asset == "pump-1"
    packed = said.replace("json", "msgpack").replace("Json", "MsgPack")
    assert judge_one(headers=[("x", b"y"), (name, packed.encode())]).asset == "pump-1"


def detail_of(window: SensorWindow | None = None, **record: Any) -> str:
    """What a person is told about a refused record."""
    with pytest.raises(InvalidRecord) as refused:
        judge_one(window, **record)
    return refused.value.detail


def test_a_missing_content_type_is_told_as_missing() -> None:
    """It is not an empty one."""
    assert "no content-type header" in detail_of(headers=[])
    assert "content-type is ''" in detail_of(headers=[(CONTENT_TYPE, b"")])


def test_the_detail_names_the_model_that_nearly_reads_it() -> None:
    """Its order, its period, its length, or that none of its versions serves."""
    good = pump_window()
    turned = msgspec.structs.replace(good, sensors=good.sensors[::-1], values=good.values[:, ::-1])
    assert "in the order ['flow', 'pressure', 'temperature']" in detail_of(turned)
    slow = msgspec.structs.replace(good, period_seconds=90.0)
    assert "every 60.0 s" in detail_of(slow)
    short = msgspec.structs.replace(good, values=good.values[:-1])
    assert "model pump reads 6" in detail_of(short)
    waiting = Registry()
    waiting.apply(declare(pump_spec(), AT)[0])
    with pytest.raises(InvalidRecord, match="no version of it serves yet"):
        validate(b"pump-1", encode_window(good), PACKED, waiting)


def test_a_bad_name_leaves_its_neighbours_alone() -> None:
    """Whatever is around it."""
    good, bad = pump_window(), pump_window(asset="a" * 300)
    records = [window_record(good, 0), window_record(bad, 1), window_record(pump_window(3), 2)]
    judgement = judge(records, REGISTRY, NOW_MS)
    assert {row: problem.reason for row, problem in judgement.refused.items()} == {1: "bad_name"}
    assert [row for block in judgement.blocks for row in block.rows] == [0, 2]


def test_no_window_that_is_taken_has_a_normalised_form_that_does_not_fit() -> None:
    """A reading has 4 bytes there, and 2 in JSON at least."""
    assert NORMALIZED.max_bytes > 2 * MAX_WINDOW_BYTES + MAX_SENSORS + 8 * MAX_NAME_BYTES
