"""A detector's finding as an alert."""

from __future__ import annotations

from typing import Final

from millrace.contracts.clock import event_time
from millrace.contracts.events.drift_alert import DriftAlert, shown
from millrace.contracts.ids import derived_id
from millrace.contracts.source import Source
from millrace.drift.monitor import Finding
from millrace.drift.policy import judge

#: Description of a change, by signal and whether it rose.
_WORDS: Final = {
    ("error", True): "the model's error rose",
    ("error", False): "the model's error fell",
    ("skill", True): "the model lost its lead over persistence",
    ("skill", False): "the model's lead over persistence grew",
}


def alert_of(
    finding: Finding, *, asset: str, model: str, version: int, source: Source, time_ms: int
) -> DriftAlert:
    """Build the alert; its id is deterministic: the same finding about the same record."""
    alarm = finding.alarm
    judgement = judge(finding.signal, rising=alarm.rising)
    what = _WORDS.get((finding.signal, alarm.rising)) or (
        f"{finding.sensor} {'rose' if alarm.rising else 'fell'} from its level in training"
    )
    return DriftAlert(
        id=derived_id(
            "a",
            source.topic,
            source.partition,
            source.offset,
            finding.signal,
            finding.sensor or "",
            finding.detector,
        ),
        asset=asset,
        model=model,
        version=version,
        signal=finding.signal,
        sensor=finding.sensor,
        detector=finding.detector,
        statistic=alarm.statistic,
        threshold=alarm.threshold,
        severity=judgement.severity,
        asks_training=judgement.asks_training,
        event_time=event_time(time_ms),
        evidence_from=event_time(alarm.evidence_from),
        samples=alarm.samples,
        source=source,
        detail=f"{asset}: {what} ({shown(finding.detector, alarm.statistic, alarm.threshold)})",
    )
