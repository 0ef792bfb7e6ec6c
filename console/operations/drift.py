"""Reads drift alerts."""

from __future__ import annotations

from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.topics import DRIFT_ALERTS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.log_reader import read_all
from millrace.infra.settings import Settings


def read_alerts(
    settings: Settings, asset: str | None = None, signal: str | None = None
) -> list[DriftAlert]:
    """Read the alerts of an asset, of a kind of signal, or all; sorted by event time.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    read = EventReader[DriftAlert](DriftAlert)
    found: list[DriftAlert] = []
    for message in read_all(settings, DRIFT_ALERTS):
        alert = read.valid(message.value())
        if alert is None:
            continue
        if asset in (None, alert.asset) and signal in (None, alert.signal):
            found.append(alert)
    return sorted(found, key=lambda alert: alert.event_time)
