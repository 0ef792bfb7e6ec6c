"""Predictions as records of `predictions`: value, key and headers of a whole batch at once.

The bytes are exactly those of msgspec's encoding of `contracts.prediction.Prediction`. What
all windows of a batch share is encoded once; what differs is encoded column by column, one
call each, and put together by a template that is made from the contract's own fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.events import PREDICTION
from contracts.headers import SOURCE_OFFSET, RawHeaders, cloud_event
from contracts.normalized_window import NormalizedWindow
from contracts.prediction import Prediction
from contracts.source import Source
from contracts.topics import PREDICTIONS
from contracts.window import JSON
from inference.predictions import Forecasts
from inference.servables import Servable

ORIGIN: Final = "/millrace/inference"
#: Topic (without the namespace), key, value, headers and partition of a record.
Record = tuple[str, bytes | None, bytes, RawHeaders, int]

_json = msgspec.json.Encoder()
_DIGEST_BYTES: Final = 12
#: Places of the fields that are the window's own, in the order of the contract's fields. An
#: id is plain characters, for which JSON has no other form.
_VARIES: Final = {
    "id": b'"%b"',
    "asset": b"%b",
    "window_id": b"%b",
    "source": b"%b",
    "interval_start": b"%b",
    "interval_end": b"%b",
    "present": b"%b",
    "forecast": b"%b",
    "persistence": b"%b",
    "latency_ms": b"%b",
}


def prediction_records(
    servable: Servable, windows: Sequence[NormalizedWindow], said: Forecasts, at: datetime
) -> list[Record]:
    """Write down what a version has said about windows of one stamp.

    Args:
        servable: The version.
        windows: Windows of one stamp; at least one.
        said: What it has said about them.
        at: When, UTC.

    Returns:
        A record for each window, in order; that of a window about which it has said nothing
        finite is not to be sent.
    """
    template = _template(servable, windows[0], at)
    ids = prediction_ids(windows)
    ends = np.array([w.end_ms for w in windows], np.int64)
    horizon_ms = round(servable.spec.horizon * servable.spec.period_seconds * 1000)
    forecast, last = _rows(said)
    columns = (
        ids,
        _lines([w.asset for w in windows]),
        _lines([w.window_id for w in windows]),
        _lines([w.source for w in windows]),
        _moments(ends),
        _moments(ends + horizon_ms),
        _lines(said.present.tolist()),
        _lines(forecast),
        _lines(last),
        _lines(latencies_ms(windows, at).tolist()),
    )
    before, after = _around_id(at)
    return [
        (
            PREDICTIONS.name,
            window.asset.encode(),
            template % row,
            [*before, ("ce_id", row[0]), *after, (SOURCE_OFFSET, b"%d" % window.source.offset)],
            window.source.partition,
        )
        for window, row in zip(windows, zip(*columns, strict=True), strict=True)
    ]


def _around_id(at: datetime) -> tuple[RawHeaders, RawHeaders]:
    """Headers that all predictions of a moment share: those before their id, those after."""
    shared = cloud_event("", PREDICTION, ORIGIN, JSON, at)
    place = [name for name, _ in shared].index("ce_id")
    return shared[:place], shared[place + 1 :]


def prediction_ids(windows: Iterable[NormalizedWindow]) -> list[bytes]:
    """Name predictions: `contracts.ids.derived_id` of each source, at less than half its cost."""
    ids = []
    begun: dict[tuple[str, int], bytes] = {}
    for window in windows:
        source = window.source
        place = (source.topic, source.partition)
        start = begun.get(place)
        if start is None:
            start = begun[place] = f"{source.topic}\x1f{source.partition}\x1f".encode()
        digest = blake2b(start + b"%d" % source.offset, digest_size=_DIGEST_BYTES)
        ids.append(b"p-" + digest.hexdigest().encode())
    return ids


def latencies_ms(windows: Iterable[NormalizedWindow], at: datetime) -> npt.NDArray[np.float64]:
    """Milliseconds from the edge's hand-over of each window until a moment."""
    taken = np.array([w.source.timestamp_ms for w in windows], np.float64)
    return at.timestamp() * 1000 - taken


def _template(servable: Servable, window: NormalizedWindow, at: datetime) -> bytes:
    """JSON of a prediction, with a place for each field that is the window's own."""
    spec = servable.spec
    shared: dict[str, Any] = {
        "model": spec.name,
        "version": servable.version,
        "stamped_version": window.version,
        "epoch": window.epoch,
        "artefact_digest": servable.artefact_digest,
        "normaliser_digest": servable.normaliser.digest,
        "targets": spec.target_names,
        "predicted_at": at,
        "v": 1,
    }
    fields = (
        _json.encode(name)
        + b":"
        + (_json.encode(shared[name]).replace(b"%", b"%%") if name in shared else _VARIES[name])
        for name in Prediction.__struct_fields__
    )
    return b"{" + b",".join(fields) + b"}"


def _lines(values: Sequence[str | Source | float | list[Any]]) -> list[bytes]:
    """Encode each value; JSON has no raw line feed, so lines can be told apart."""
    return _json.encode_lines(values).split(b"\n")[:-1]


def _moments(moments_ms: npt.NDArray[np.int64]) -> list[bytes]:
    """Encode UTC moments."""
    local: list[datetime] = (moments_ms * 1000).astype("datetime64[us]").tolist()
    return _json.encode_lines(local).replace(b'"\n', b'Z"\n').split(b"\n")[:-1]


def _rows(said: Forecasts) -> tuple[list[Any], list[Any]]:
    """Forecasts and last readings as lists, None where a target is absent."""
    forecast, last = said.forecast.tolist(), said.last.tolist()
    for place in np.flatnonzero(~said.present.all(axis=1)):
        shown = said.present[place].tolist()
        forecast[place] = [_masked(row, shown) for row in forecast[place]]
        last[place] = _masked(last[place], shown)
    return forecast, last


def _masked(row: list[float], shown: list[bool]) -> list[float | None]:
    return [x if there else None for x, there in zip(row, shown, strict=True)]
