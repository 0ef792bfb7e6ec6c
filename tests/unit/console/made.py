"""Hand-made records for the console's tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    Artefact,
    ModelEvent,
    Registered,
)
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.events.window import SensorWindow
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.registry.decisions import declare
from millrace.registry.state import Registry
from millrace.verification.evidence import Evidence, Refusal, SentWindow
from millrace.verification.source_windows import SourceWindow, source_windows

START = datetime(2025, 1, 1, tzinfo=UTC)
SPEC = ModelSpec("tank", ("level", "flow"), 60.0, window=4, horizon=2, stride=2)
UNITS = {0: Normaliser.identity(2), 1: Normaliser((10.0, 1.0), (2.0, 0.5))}
ARTEFACT = Artefact("models/tank/v1-run", "a" * 64)


def frame(samples: int, asset: str = "tank-1", segment: str = "", begin: int = 0) -> pd.DataFrame:
    """Readings once a minute: level counts up from ``begin``, flow down."""
    count = np.arange(begin, begin + samples)
    times = pd.to_datetime([START + timedelta(minutes=int(i)) for i in count]).as_unit("ms")
    return pd.DataFrame(
        {
            "time": times,
            "asset": asset,
            "segment": segment,
            "level": count.astype("float32"),
            "flow": -count.astype("float32"),
        }
    )


def story(samples: int = 12) -> list[SourceWindow]:
    """Windows of one tank, each with readings of its own to spoil."""
    return [replace(w, values=w.values.copy()) for w in source_windows(frame(samples), SPEC)]


def sent(windows: list[SourceWindow], partition: int = 0) -> list[SentWindow]:
    """Each window as a record of one partition, in order."""
    return [
        SentWindow(
            partition,
            offset,
            1_000 + offset,
            SensorWindow(w.asset, SPEC.sensors, w.start_ms, 60.0, w.values, w.segment),
        )
        for offset, w in enumerate(windows)
    ]


def prediction(
    record: SentWindow, version: int = 0, epoch: int = 1, *, stamped: int | None = None
) -> Prediction:
    """A persistence forecast of a record by a version."""
    window = record.window
    assert window is not None
    moment = datetime.fromtimestamp(window.end_ms / 1000, UTC)
    last = [float(value) for value in window.values[-1]]
    return Prediction(
        id=f"p-{record.partition}-{record.offset}",
        asset=window.asset,
        model=SPEC.name,
        version=version,
        stamped_version=version if stamped is None else stamped,
        epoch=epoch,
        artefact_digest=ARTEFACT.digest if version else "of the spec",
        normaliser_digest=UNITS[version].digest,
        window_id=window.id,
        source=source(record),
        interval_start=moment,
        interval_end=moment + timedelta(minutes=SPEC.horizon),
        targets=SPEC.sensors,
        present=(True, True),
        forecast=[[*last]],
        persistence=[*last],
        predicted_at=START,
        latency_ms=1.0,
    )


def normalized(record: SentWindow, version: int = 0, epoch: int = 1) -> NormalizedWindow:
    """A record in the units of a version."""
    window = record.window
    assert window is not None
    present = np.ones(2, np.bool_)
    return NormalizedWindow(
        window_id=window.id,
        asset=window.asset,
        model=SPEC.name,
        version=version,
        epoch=epoch,
        source=source(record),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        values=UNITS[version].apply(window.values, present).tobytes(),
        present=present.tobytes(),
    )


def source(record: SentWindow) -> Source:
    """Where a record is."""
    return Source(SENSOR_WINDOWS.name, record.partition, record.offset, record.timestamp_ms)


def refusal(record: SentWindow, reason: str = "too_many_missing") -> Refusal:
    """A dead letter of a record."""
    return Refusal(SENSOR_WINDOWS.name, record.partition, record.offset, reason)


def fence(epoch: int, version: int, first_offset: int, partition: int = 0) -> LedgerEntry:
    """An entry of the ledger, stamped as many seconds after the start as its epoch."""
    at = START + timedelta(seconds=epoch)
    return LedgerEntry(SPEC.name, partition, epoch, version, first_offset, at)


def swap_events(at: datetime = START) -> list[ModelEvent]:
    """Persistence, and then version 1: approved at once, activated a second later."""
    return [
        *declare(SPEC, at),
        Registered(
            id="r1",
            model=SPEC.name,
            version=1,
            at=at,
            spec=SPEC,
            normaliser=UNITS[1],
            artefact=ARTEFACT,
        ),
        Approved(id="a1", model=SPEC.name, version=1, at=at, detail="better"),
        Activated(id="s1", model=SPEC.name, version=1, at=at + timedelta(seconds=1), epoch=2),
    ]


def registry() -> Registry:
    """The fold of `swap_events`."""
    folded = Registry()
    for event in swap_events():
        folded.apply(event)
    return folded


def clean_run() -> Evidence:
    """Five windows, the last two of them after a swap to version 1, all as it should be."""
    records = sent(story())
    fences = [fence(1, 0, 0), fence(2, 1, 3)]
    stamps = [(0, 1)] * 3 + [(1, 2)] * (len(records) - 3)
    return Evidence(
        windows=records,
        normalized=[normalized(r, *s) for r, s in zip(records, stamps, strict=True)],
        predictions=[prediction(r, *s) for r, s in zip(records, stamps, strict=True)],
        ledger=fences,
        model_events=swap_events(),
    )
