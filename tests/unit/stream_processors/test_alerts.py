"""Findings as alerts: what they name, what they ask for, and that they repeat as one."""

import msgspec

from millrace.contracts.clock import event_time
from millrace.contracts.events.drift_alert import DriftAlert, Signal
from millrace.drift.detectors.alarm import Alarm
from millrace.drift.monitor import Finding
from millrace.stream_processors.alerts import alert_of
from tests.builders import START_MS, source_of


def alert(
    signal: Signal,
    sensor: str | None = None,
    *,
    offset: int = 3,
    detector: str = "PageHinkley",
    statistic: float | None = 31.5,
    rising: bool = False,
) -> DriftAlert:
    """Build the alert of a finding."""
    threshold = None if statistic is None else 30.0
    alarm = Alarm(statistic, threshold, rising=rising, evidence_from=START_MS, samples=99)
    return alert_of(
        Finding(signal, sensor, detector, alarm),
        asset="pump-1",
        model="pump",
        version=2,
        source=source_of(offset),
        time_ms=START_MS + 1000,
    )


def test_an_input_alert_names_its_sensor() -> None:
    """It says which sensor moved and which way, and does not ask for a training."""
    made = alert("input", "flow")
    assert made.detail == ("pump-1: flow fell from its level in training (PageHinkley 31.5 > 30)")
    assert (made.severity, made.asks_training) == ("warning", False)
    assert (made.event_time, made.evidence_from) == (
        event_time(START_MS + 1000),
        event_time(START_MS),
    )


def test_loss_asks_for_a_training() -> None:
    """Error and skill alarms are critical, and say so in words of their own."""
    error, skill = alert("error", rising=True), alert("skill", rising=True)
    assert error.asks_training
    assert skill.asks_training
    assert error.detail != skill.detail


def test_an_error_that_falls_asks_for_nothing() -> None:
    """A detector may find that the model has become better: news, and no training."""
    better = alert("error", detector="KSWIN", statistic=None)
    assert better.detail == "pump-1: the model's error fell (KSWIN)"
    assert (better.severity, better.asks_training) == ("info", False)


def test_ids_tell_findings_apart_and_repeat() -> None:
    """The same finding about the same record has the same id; any other has another."""
    made = [
        alert("input", "flow"),
        alert("input", "temperature"),
        alert("input", "flow", detector="ADWIN"),
        alert("error"),
        alert("skill"),
        alert("skill", offset=4),
    ]
    assert len({a.id for a in made}) == len(made)
    assert alert("error").id == alert("error").id


def test_an_alert_survives_json() -> None:
    """Every number of an alert has a JSON form."""
    made = alert("skill")
    assert msgspec.json.decode(msgspec.json.encode(made), type=DriftAlert) == made
