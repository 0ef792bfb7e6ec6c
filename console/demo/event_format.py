"""Formats the observer's events as lines, each event once."""

from __future__ import annotations

from millrace.console.demo.observer import Seen
from millrace.contracts.events.drift_alert import DriftAlert, shown
from millrace.contracts.events.model_event import (
    Activated,
    Approved,
    ModelEvent,
    Rejected,
    RolledBack,
    Unloadable,
)
from millrace.contracts.events.training import TrainingRun
from millrace.contracts.model_spec import PERSISTENCE


class EventFormatter:
    """Formats new events; remembers which ones it has returned."""

    def __init__(self) -> None:
        """Start with no events returned."""
        self._alerts = 0
        self._events = 0
        self._runs: dict[str, str] = {}

    def news(self, seen: Seen) -> list[str]:
        """Return lines of new events; call with the observer's lock held."""
        alerts = [alert_line(a) for a in seen.alerts[self._alerts :] if a.asks_training]
        self._alerts = len(seen.alerts)
        events = [line for e in seen.registry_events[self._events :] if (line := event_line(e))]
        self._events = len(seen.registry_events)
        runs = []
        for run in seen.runs.values():
            if self._runs.get(run.id) != run.state:
                self._runs[run.id] = run.state
                runs.append(run_line(run))
        return [*alerts, *runs, *events]


def alert_line(alert: DriftAlert) -> str:
    """An alert in one line."""
    what = f"{alert.signal} of {alert.sensor}" if alert.sensor else alert.signal
    return (
        f"drift     {alert.asset}: {what} at {alert.event_time:%Y-%m-%d %H:%M}"
        f" ({shown(alert.detector, alert.statistic, alert.threshold)})"
    )


def run_line(run: TrainingRun) -> str:
    """A run's state in one line."""
    version = f" version {run.version}" if run.version is not None else ""
    match run.state:
        case "waiting":
            said = f"waits for more windows ({run.request.reason}: {run.request.detail})"
        case "started":
            said = f"started{version} ({run.request.reason}: {run.request.detail})"
        case _:
            took = f" after {run.seconds:.1f} s" if run.seconds is not None else ""
            said = f"{run.state}{version}{took}: {run.detail}"
    return f"training  {run.model} {said}"


def event_line(event: ModelEvent) -> str | None:
    """A registry event in one line; None for those that are not shown."""
    match event:
        case Activated() if event.version == PERSISTENCE:
            return f"swap      {event.model} begins with version 0, persistence"
        case Activated():
            return (
                f"swap      {event.model} version {event.version} serves from epoch {event.epoch}"
            )
        case RolledBack():
            return f"roll-back {event.model} to version {event.version}: {event.detail}"
        case Unloadable():
            return f"trouble   {event.replica} cannot load version {event.version}: {event.detail}"
        case Rejected() | Approved():
            return None  # the run's line has the same, with more detail
        case _:
            return None
