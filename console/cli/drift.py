"""`millrace drift list`: the detectors' alerts."""

from __future__ import annotations

from millrace.console.operations.drift import read_alerts
from millrace.console.terminal.output import answers, print_json, table
from millrace.infra.local.address import settings_of_running_system


def list_alerts(asset: str | None, signal: str | None, count: int, *, as_json: bool) -> None:
    """Print the last alerts.

    Args:
        asset: Only alerts of this asset.
        signal: Only alerts of this kind of signal.
        count: Number of alerts; 0 for all.
        as_json: Print a JSON array.

    Raises:
        ServerError: The system is not running.
    """
    found = read_alerts(settings_of_running_system(), asset, signal)
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
