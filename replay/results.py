"""Predictions of a replay: as a table for files, or as records for a topic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.contracts.headers import RawHeaders
from millrace.inference.batch.records import Record, prediction_ids, prediction_records
from millrace.inference.serving.platform import platform_name
from millrace.replay.pipeline import Run

#: Header that names the replay that a prediction comes from.
REPLAY: Final = "millrace_replay"
_TIME: Final = pa.timestamp("ms", tz="UTC")
_WORD: Final = pa.dictionary(pa.int32(), pa.string())
_FLOATS: Final = pa.list_(pa.float32())
#: Columns of a replay's files: those of `contracts.events.prediction.Prediction`, with the source
#: in columns of its own. A forecast is a list of steps, each a list of targets.
COLUMNS: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("asset", pa.string(), nullable=False),
        pa.field("model", _WORD, nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("stamped_version", pa.int32(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("artefact_digest", _WORD, nullable=False),
        pa.field("normaliser_digest", _WORD, nullable=False),
        pa.field("window_id", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("source_topic", _WORD, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("source_timestamp", _TIME, nullable=False),
        pa.field("interval_start", _TIME, nullable=False),
        pa.field("interval_end", _TIME, nullable=False),
        pa.field("targets", pa.list_(pa.string()), nullable=False),
        pa.field("forecast", pa.list_(_FLOATS), nullable=False),
        pa.field("persistence", _FLOATS, nullable=False),
        pa.field("predicted_at", _TIME, nullable=False),
        pa.field("platform", _WORD, nullable=False),
        pa.field("replay", _WORD, nullable=False),
    ]
)


def table_of_runs(runs: Iterable[Run], replay: str, at: datetime) -> pa.Table:
    """Build a table of `COLUMNS`, by position.

    Args:
        runs: Forecasts of one partition.
        replay: Id of the replay.
        at: Time of the predictions, UTC.
    """
    tables = [_table(run, replay, at) for run in runs]
    table = pa.concat_tables(tables) if tables else COLUMNS.empty_table()
    return table if len(tables) < 2 else table.sort_by("source_offset")  # noqa: PLR2004


def records_of_runs(runs: Iterable[Run], topic: str, replay: str, at: datetime) -> list[Record]:
    """Encode predictions as records of a topic, by position.

    They differ from those of live by the header `REPLAY` and by their CloudEvents source.

    Args:
        runs: Forecasts of one partition.
        topic: Full name of the topic.
        replay: Id of the replay.
        at: Time of the predictions, UTC.
    """
    more: RawHeaders = [(REPLAY, replay.encode())]
    found: list[tuple[int, Record]] = []
    for run in runs:
        made = prediction_records(
            run.servable, run.windows, run.said, at, origin=f"/millrace/replay/{replay}"
        )
        found += [
            (window.source.offset, (topic, key, value, [*headers, *more], partition))
            for window, (_, key, value, headers, partition) in zip(run.windows, made, strict=True)
        ]
    found.sort(key=lambda each: each[0])
    return [record for _, record in found]


def _table(run: Run, replay: str, at: datetime) -> pa.Table:
    servable, windows, said = run.servable, run.windows, run.said
    spec, count = servable.spec, len(windows)
    stamp = windows[0]
    ends = np.array([window.end_ms for window in windows], np.int64)
    columns = {
        "id": [name.decode() for name in prediction_ids(windows)],
        "asset": [window.asset for window in windows],
        "model": _same(spec.name, count),
        "version": np.full(count, servable.version, np.int32),
        "stamped_version": np.full(count, stamp.version, np.int32),
        "epoch": np.full(count, stamp.epoch, np.int32),
        "artefact_digest": _same(servable.artefact_digest, count),
        "normaliser_digest": _same(servable.normaliser.digest, count),
        "window_id": [window.window_id for window in windows],
        "segment": [window.segment for window in windows],
        "source_topic": _same(stamp.source.topic, count),
        "source_partition": np.full(count, stamp.source.partition, np.int32),
        "source_offset": np.array([window.source.offset for window in windows], np.int64),
        "source_timestamp": _times(
            np.array([window.source.timestamp_ms for window in windows], np.int64)
        ),
        "interval_start": _times(ends),
        "interval_end": _times(ends + spec.horizon_ms),
        "targets": _repeated(spec.target_names, count),
        "forecast": _forecasts(said.forecast, said.present),
        "persistence": _lists(_masked(said.last, said.present), said.last.shape),
        "predicted_at": _times(np.full(count, round(at.timestamp() * 1000), np.int64)),
        "platform": _same(platform_name(), count),
        "replay": _same(replay, count),
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, COLUMNS.field(name).type)
        for name, column in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def _same(word: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([word]))


def _repeated(words: Sequence[str], count: int) -> pa.Array:
    values = pa.array(words, pa.string()).take(pa.array(np.tile(np.arange(len(words)), count)))
    return pa.ListArray.from_arrays(_ends(count, len(words)), values)


def _times(moments_ms: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(moments_ms).view(_TIME)


def _forecasts(forecast: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]) -> pa.Array:
    """Lists of steps of lists of targets; null where a target is absent."""
    count, steps, targets = forecast.shape
    shown = np.broadcast_to(present[:, None, :], forecast.shape)
    rows = _lists(_masked(forecast, shown), (count * steps, targets))
    return pa.ListArray.from_arrays(_ends(count, steps), rows)


def _lists(values: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    return pa.ListArray.from_arrays(_ends(*shape), values)


def _masked(values: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]) -> pa.Array:
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    if present.all():
        return pa.array(flat)
    return pa.array(flat, mask=~np.ascontiguousarray(present).reshape(-1))


def _ends(count: int, each: int) -> pa.Array:
    return pa.array(np.arange(count + 1, dtype=np.int32) * each)
