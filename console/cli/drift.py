"""`millrace drift list`: what the detectors found."""

from __future__ import annotations

from millrace.console.terminal.output import answers, print_json, table
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DRIFT_ALERTS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.kafka.clients import read_all
from millrace.infra.local.address import settings_of_running_system
from millrace.infra.settings import Settings


def read_alerts(settings: Settings) -> list[DriftAlert]:
    """Read all alerts, by event time.

    Raises:
        ServerError: No broker answers, or the topic is not there.
    """
    read = EventReader[DriftAlert](DriftAlert)
    found: list[DriftAlert] = []
    for message in read_all(settings, DRIFT_ALERTS):
        try:
            found.append(read(message.value() or b""))
        except InvalidRecord:
            continue  # not ours: somebody else wrote into the topic
    return sorted(found, key=lambda alert: alert.event_time)


def list_alerts(asset: str | None, signal: str | None, count: int, *, as_json: bool) -> None:
    """Print the last alerts.

    Args:
        asset: Only of this asset.
        signal: Only of this kind of signal.
        count: How many; 0 for all.
        as_json: A JSON array.

    Raises:
        ServerError: Nothing runs.
    """
    found = [
        alert
        for alert in read_alerts(settings_of_running_system())
        if asset in (None, alert.asset) and signal in (None, alert.signal)
    ]
    shown = found[-count:] if count else found
    if as_json:
        print_json(shown)
        return
    columns = ("event time", "asset", "model", "signal", "sensor", "detector", "statistic",
               "threshold", "asks training", "detail")  # fmt: skip
    answers.print(
        table(
            f"{len(shown)} of {len(found)} alerts",
            columns,
            [
                (
                    alert.event_time,
                    alert.asset,
                    f"{alert.model} v{alert.version}",
                    alert.signal,
                    alert.sensor,
                    alert.detector,
                    alert.statistic,
                    alert.threshold,
                    alert.asks_training,
                    alert.detail,
                )
                for alert in shown
            ],
        )
    )
