"""Windows as broken devices send them: each is a good window with one defect.

Pure functions from a good window to a record and the reason that its dead letter must name.

>>> import numpy as np
>>> from millrace.contracts.events.window import decode_window
>>> good = SensorWindow("pump-1", ("flow",), 1_700_000_000_000, 60.0, np.ones((4, 1), "f4"))
>>> bad = make_bad(good, "bad_period", np.random.default_rng(1))
>>> bad.reason, decode_window(bad.value, MSGPACK).period_seconds
('bad_period', -60.0)
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import CONTENT_TYPE, RawHeaders
from millrace.contracts.missing import ABSENT_ABOVE
from millrace.contracts.topics import MAX_WINDOW_BYTES
from millrace.producers.record import window_headers

Rng = np.random.Generator

#: Milliseconds of 1970-01-01 00:00:01 and of 2100-01-01.
_IN_1970: Final = 1_000
_IN_2100: Final = 4_102_444_800_000
_SOURCE: Final = "/millrace/edge/defects"


class BadWindow(NamedTuple):
    """A record to send, and its expected dead letter.

    Attributes:
        key: The record's key.
        value: Its value.
        headers: Its headers.
        reason: The reason that its dead letter must name.
    """

    key: bytes | None
    value: bytes
    headers: RawHeaders
    reason: str


def make_bad(window: SensorWindow, reason: str, rng: Rng) -> BadWindow:
    """Spoil a window so that it is refused for a reason.

    Args:
        window: A good one; it is not changed.
        reason: One of `REASONS`.
        rng: Chooses among the ways to spoil it.
    """
    ways = _WAYS[reason]
    return ways[int(rng.integers(len(ways)))](window, rng)._replace(reason=reason)


def bad_windows(
    good: Sequence[SensorWindow], rng: Rng, reasons: Sequence[str] | None = None
) -> Iterator[BadWindow]:
    """Make one bad record for each reason in turn, repeatedly, from good windows.

    Args:
        good: The windows to spoil, one after the other.
        rng: Seeded, so that the mix can be repeated.
        reasons: The reasons; all of `REASONS` when None.
    """
    wanted = reasons or REASONS
    for index, window in enumerate(good):
        yield make_bad(window, wanted[index % len(wanted)], rng)


def _packed(window: SensorWindow, **fields: Any) -> BadWindow:
    """Replace fields of the MessagePack form."""
    body = msgspec.msgpack.decode(encode_window(window))
    return _record(window, msgspec.msgpack.encode({**body, **fields}), MSGPACK)


def _plain(window: SensorWindow, **fields: Any) -> BadWindow:
    """Replace fields of the JSON form."""
    body = msgspec.json.decode(encode_window_json(window))
    return _record(window, msgspec.json.encode({**body, **fields}), JSON)


def _record(window: SensorWindow, value: bytes, content_type: str) -> BadWindow:
    headers = window_headers(window, content_type, _SOURCE, window.end_ms)
    return BadWindow(window.asset.encode(), value, headers, "")


def _with_values(window: SensorWindow, values: npt.NDArray[np.float32]) -> BadWindow:
    spoiled = msgspec.structs.replace(window, values=values)
    return _record(window, encode_window(spoiled), MSGPACK)


def _one_reading(window: SensorWindow, rng: Rng, reading: float) -> npt.NDArray[np.float32]:
    values = window.values.copy()
    values[int(rng.integers(values.shape[0])), int(rng.integers(values.shape[1]))] = reading
    return values


def _torn_block(window: SensorWindow, _: Rng) -> BadWindow:
    block = np.ascontiguousarray(window.values, "<f4").tobytes()
    return _packed(window, values=block[:-1])


def _ragged_rows(window: SensorWindow, rng: Rng) -> BadWindow:
    rows = msgspec.json.decode(encode_window_json(window))["values"]
    rows[int(rng.integers(len(rows)))].append(1.0)
    return _plain(window, values=rows)


def _too_short(window: SensorWindow, _: Rng) -> BadWindow:
    return _with_values(window, window.values[:-1])


def _unknown_sensors(window: SensorWindow, _: Rng) -> BadWindow:
    return _packed(window, sensors=[f"unheard-of-{name}" for name in window.sensors])


def _infinite(window: SensorWindow, rng: Rng) -> BadWindow:
    return _with_values(window, _one_reading(window, rng, float(rng.choice([np.inf, -np.inf]))))


def _json_1e300(window: SensorWindow, rng: Rng) -> BadWindow:
    rows = msgspec.json.decode(encode_window_json(window))["values"]
    row = rows[int(rng.integers(len(rows)))]
    row[int(rng.integers(len(row)))] = 1e300
    return _plain(window, values=rows)


def _huge(window: SensorWindow, rng: Rng) -> BadWindow:
    return _with_values(window, _one_reading(window, rng, 1e31))


def _mostly_missing(window: SensorWindow, rng: Rng) -> BadWindow:
    values = window.values.copy()
    samples = len(values)
    lost = int(ABSENT_ABOVE * samples) + 1
    for sensor in range(values.shape[1]):
        values[rng.choice(samples, size=lost, replace=False), sensor] = np.nan
    return _with_values(window, values)


def _negative_period(window: SensorWindow, _: Rng) -> BadWindow:
    return _packed(window, period_seconds=-window.period_seconds)


def _no_period(window: SensorWindow, _: Rng) -> BadWindow:
    return _packed(window, period_seconds=0.0)


def _truncated(window: SensorWindow, rng: Rng) -> BadWindow:
    value = encode_window(window)
    return _record(window, value[: int(rng.integers(1, len(value)))], MSGPACK)


def _truncated_json(window: SensorWindow, rng: Rng) -> BadWindow:
    value = encode_window_json(window)
    return _record(window, value[: int(rng.integers(1, len(value)))], JSON)


def _as_csv(window: SensorWindow, _: Rng) -> BadWindow:
    return _record(window, encode_window(window), "text/csv")


def _without_type(window: SensorWindow, _: Rng) -> BadWindow:
    made = _record(window, encode_window(window), MSGPACK)
    return made._replace(headers=[pair for pair in made.headers if pair[0] != CONTENT_TYPE])


def _oversized(window: SensorWindow, rng: Rng) -> BadWindow:
    columns = window.values.shape[1]
    rows = MAX_WINDOW_BYTES // (4 * columns) + 1
    return _with_values(window, rng.normal(size=(rows, columns)).astype(np.float32))


def _without_key(window: SensorWindow, _: Rng) -> BadWindow:
    return _record(window, encode_window(window), MSGPACK)._replace(key=None)


def _empty_key(window: SensorWindow, _: Rng) -> BadWindow:
    return _record(window, encode_window(window), MSGPACK)._replace(key=b"")


def _long_ago(window: SensorWindow, _: Rng) -> BadWindow:
    return _packed(window, start_ms=_IN_1970)


def _far_ahead(window: SensorWindow, _: Rng) -> BadWindow:
    return _packed(window, start_ms=_IN_2100)


_WAYS: Final[dict[str, tuple[Callable[[SensorWindow, Rng], BadWindow], ...]]] = {
    "wrong_shape": (_torn_block, _ragged_rows, _too_short),
    "unknown_sensor_set": (_unknown_sensors,),
    "not_finite": (_infinite, _json_1e300),
    "out_of_range": (_huge,),
    "too_many_missing": (_mostly_missing,),
    "bad_period": (_negative_period, _no_period),
    "undecodable": (_truncated, _truncated_json),
    "wrong_content_type": (_as_csv, _without_type),
    "oversized": (_oversized,),
    "empty_key": (_without_key, _empty_key),
    "implausible_time": (_long_ago, _far_ahead),
}

#: All reasons for which a window can be spoiled here.
REASONS: Final = tuple(_WAYS)
