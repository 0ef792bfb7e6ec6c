"""Encodes predictions as records: value, key and headers of a whole batch at once.

The bytes are exactly those of msgspec's encoding of `contracts.events.prediction.Prediction`.
Fields that all windows of a batch share are encoded once; the others are encoded by column, in one
call each, and joined with the shared parts in the contract's order of fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from millrace.contracts.events.event import JSON
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import ID, PLATFORM, SOURCE_OFFSET, RawHeaders, around_id
from millrace.contracts.source import Source
from millrace.contracts.topics import PREDICTIONS
from millrace.inference.batch.predictions import Forecasts
from millrace.inference.serving.platform import platform_name
from millrace.inference.serving.servables import Servable
from millrace.model_families.examples import Bools

ORIGIN: Final = "/millrace/inference"
#: Topic (without the namespace), key, value, headers and partition of a record.
Record = tuple[str, bytes | None, bytes, RawHeaders, int]

_json = msgspec.json.Encoder()
_DIGEST_BYTES: Final = 12


def prediction_records(
    servable: Servable,
    windows: Sequence[NormalizedWindow],
    said: Forecasts,
    at: datetime,
    *,
    origin: str = ORIGIN,
) -> list[Record]:
    """Encode the forecasts of a version for windows of one stamp.

    Args:
        servable: The version.
        windows: Windows of one stamp; at least one.
        said: Its forecasts for them.
        at: Time of the predictions, UTC.
        origin: CloudEvents source.

    Returns:
        A record for each window, in order; records of windows without a finite forecast must not be
        sent.
    """
    ids = prediction_ids(windows)
    ends = np.array([w.end_ms for w in windows], np.int64)
    forecast, last = _rows(said)
    columns = (  # fields that differ by window, in the contract's order
        ids,
        _lines([w.asset for w in windows]),
        _lines([w.window_id for w in windows]),
        _lines([w.source for w in windows]),
        _moments(ends),
        _moments(ends + servable.spec.horizon_ms),
        _flags(said.present),
        _lines(forecast),
        _lines(last),
        _lines(latencies_ms(windows, at).tolist()),
    )
    # The shared parts lie between the columns and repeat per window, so only a join remains.
    pieces: list[Iterable[bytes]] = []
    for shared, column in zip(_between(servable, windows[0], at), (*columns, ()), strict=True):
        pieces += [repeat(shared), column]
    before, after = around_id(Prediction.TYPE, origin, JSON, at)
    after.append((PLATFORM, platform_name().encode()))
    return [
        (
            PREDICTIONS.name,
            window.asset.encode(),
            value,
            [*before, (ID, name), *after, (SOURCE_OFFSET, b"%d" % window.source.offset)],
            window.source.partition,
        )
        for window, name, value in zip(
            windows, ids, map(b"".join, zip(*pieces[:-1], strict=False)), strict=True
        )
    ]


def prediction_ids(windows: Iterable[NormalizedWindow]) -> list[bytes]:
    """Ids of predictions: `contracts.ids.derived_id` of each source, at a third of its cost."""
    ids = []
    begun: dict[tuple[str, int], Any] = {}
    for window in windows:
        source = window.source
        place = (source.topic, source.partition)
        start = begun.get(place)
        if start is None:
            text = f"{source.topic}\x1f{source.partition}\x1f".encode()
            start = begun[place] = blake2b(text, digest_size=_DIGEST_BYTES)
        digest = start.copy()
        digest.update(b"%d" % source.offset)
        ids.append(b"p-" + digest.hexdigest().encode())
    return ids


def latencies_ms(windows: Iterable[NormalizedWindow], at: datetime) -> npt.NDArray[np.float64]:
    """Milliseconds from the edge's timestamp of each window to ``at``."""
    taken = np.array([w.source.timestamp_ms for w in windows], np.float64)
    return at.timestamp() * 1000 - taken


def _between(servable: Servable, window: NormalizedWindow, at: datetime) -> list[bytes]:
    """JSON before, between and after the fields that differ by window."""
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
    pieces = [b""]
    for number, name in enumerate(Prediction.__struct_fields__):
        pieces[-1] += (b"," if number else b"{") + _json.encode(name) + b":"
        if name in shared:
            pieces[-1] += _json.encode(shared[name])
        elif name == "id":  # plain characters, which JSON does not escape
            pieces[-1] += b'"'
            pieces.append(b'"')
        else:
            pieces.append(b"")
    pieces[-1] += b"}"
    return pieces


def _lines(values: Sequence[str | Source | float | list[Any]]) -> list[bytes]:
    """Encode each value; JSON has no raw line feed, so it separates the values."""
    return _json.encode_lines(values).split(b"\n")[:-1]


def _flags(present: Bools) -> list[bytes]:
    """Encode which targets are present; usually all of them."""
    if present.all():
        return [_json.encode([True] * present.shape[1])] * len(present)
    return _lines(present.tolist())


def _moments(moments_ms: npt.NDArray[np.int64]) -> list[bytes]:
    """Encode UTC times."""
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
