"""The trainer's state: requests, runs, alarms and outcomes, folded from the topics.

A pure fold. All state comes from records, so a trainer that was killed recovers it by reading them
again. Folding a record twice does not change any decision, except that a duplicate outcome counts
twice.
"""

from array import array
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from millrace.contracts.clock import to_ms
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.training import FINISHED, TrainingRequest, TrainingRun
from millrace.contracts.source import Source
from millrace.contracts.topics import OUTCOMES, SENSOR_WINDOWS
from millrace.trainer.runs.job import Ends
from millrace.trainer.settings import KEPT

#: Order of a run's states; a record never moves a run back.
_ORDER = {"waiting": 0, "started": 1, "approved": 2, "rejected": 2, "failed": 2}

#: States of a run that came to a verdict.
LEARNED: Final = frozenset({"approved", "rejected"})


class OutcomeMark(msgspec.Struct, frozen=True):
    """The fields of an outcome that the triggers need (decoded from the same JSON)."""

    asset: str
    model: str
    interval_end: datetime
    source: Source


@dataclass
class Progress:
    """Event times of a model's outcomes, by asset (milliseconds, UTC).

    Only the latest ones of an asset are kept, at least `KEPT` of them. So a count is exact below
    that, and no setting to compare it with is larger.

    Attributes:
        times: The latest times, ascending, by asset.
        latest_ms: The latest of all.
        dropped: Number of times that are not kept any more, by asset.
    """

    times: "dict[str, array[int]]" = field(default_factory=dict)
    latest_ms: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def add(self, asset: str, time_ms: int) -> None:
        """Add an outcome."""
        times = self.times.setdefault(asset, array("q"))
        if times and time_ms < times[-1]:
            insort(times, time_ms)
        else:
            times.append(time_ms)
        if (excess := len(times) - KEPT) >= KEPT:
            del times[:excess]
            self.dropped[asset] = self.dropped.get(asset, 0) + excess
        self.latest_ms = max(self.latest_ms, time_ms)

    def count(self, after_ms: int | None = None, asset: str | None = None) -> int:
        """Count outcomes whose truth was complete after a time, of one asset or of all."""
        names = self.times if asset is None else {asset} & self.times.keys()
        if after_ms is None:
            return sum(len(self.times[name]) + self.dropped.get(name, 0) for name in names)
        return sum(
            len(self.times[name]) - bisect_right(self.times[name], after_ms) for name in names
        )


@dataclass
class Journal:
    """State folded from all records that the trainer has read.

    Attributes:
        requests: Requests by id, oldest first.
        runs: The latest state of each run by id, oldest first.
        alerts: Alarms that ask for a training and are not known to be answered, by id,
            oldest first.
        progress: Outcomes by model.
        ends: Offsets after the last known outcomes and their source windows. A run that starts now
            learns from the records before these offsets.
    """

    requests: dict[str, TrainingRequest] = field(default_factory=dict)
    runs: dict[str, TrainingRun] = field(default_factory=dict)
    alerts: dict[str, DriftAlert] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    ends: Ends = field(default_factory=lambda: {SENSOR_WINDOWS.name: {}, OUTCOMES.name: {}})

    def see_request(self, request: TrainingRequest) -> None:
        """Fold a request."""
        self.requests.setdefault(request.id, request)

    def see_run(self, run: TrainingRun) -> None:
        """Fold a run's record; a record with an earlier state than the known one is ignored."""
        known = self.runs.get(run.id)
        if known is None or _rank(run) >= _rank(known):
            self.runs[run.id] = run

    def see_alert(self, alert: DriftAlert) -> None:
        """Fold an alarm."""
        if alert.asks_training:
            self.alerts.setdefault(alert.id, alert)

    def see_outcome(self, outcome: OutcomeMark, partition: int, offset: int) -> None:
        """Fold an outcome that was read at a place of `outcomes`."""
        self.progress.setdefault(outcome.model, Progress()).add(
            outcome.asset, to_ms(outcome.interval_end)
        )
        _extend(self.ends[OUTCOMES.name], partition, offset)
        _extend(self.ends[SENSOR_WINDOWS.name], outcome.source.partition, outcome.source.offset)

    def runs_of(self, model: str) -> list[TrainingRun]:
        """List a model's runs, oldest first."""
        return [run for run in self.runs.values() if run.model == model]

    def started(self) -> TrainingRun | None:
        """Find the run in state ``started``."""
        return next((run for run in self.runs.values() if run.state == "started"), None)

    def open_requests(self) -> list[TrainingRequest]:
        """List the requests that no run has answered, oldest first."""
        answered = self.answered()
        return [request for request in self.requests.values() if request.id not in answered]

    def answered(self) -> set[str]:
        """Collect the ids of requests that a run has answered, or is about to."""
        found: set[str] = set()
        for run in self.runs.values():
            if run.state in FINISHED or run.state == "started":
                found.add(run.request.id)
                found.update(run.answers)
        return found

    def data_end_ms(self, model: str) -> int | None:
        """Latest event time in the data of a model's finished runs; None before the first.

        A run that failed before it had data counts up to the event time of its trigger, so that it
        is not repeated immediately; a manual request has no event time and does not count.
        """
        ends = [
            to_ms(run.trained_until or run.request.event_time)
            for run in self.runs_of(model)
            if run.state in FINISHED
            and (run.trained_until is not None or run.request.reason != "request")
        ]
        return max(ends, default=None)

    def learned(self, model: str) -> list[TrainingRun]:
        """List a model's runs that came to a verdict, oldest first."""
        return [run for run in self.runs_of(model) if run.state in LEARNED]


def _rank(run: TrainingRun) -> tuple[int, bool]:
    return _ORDER[run.state], run.manifest is not None


def _extend(ends: dict[int, int], partition: int, offset: int) -> None:
    ends[partition] = max(ends.get(partition, 0), offset + 1)
