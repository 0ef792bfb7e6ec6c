"""What a replay reads: the histories of topics, the registry and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from millrace.contracts.clock import to_ms
from millrace.contracts.events import dead_letter
from millrace.contracts.events.drift_alert import DriftAlert
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.mended import Resolution
from millrace.contracts.events.model_event import ModelEvent
from millrace.contracts.events.outcome import Outcome
from millrace.contracts.events.topic_epoch import parts_of, position_of
from millrace.contracts.headers import header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import (
    DAY_MS,
    DEAD_LETTERS,
    DRIFT_ALERTS,
    MENDED,
    MODEL_EVENTS,
    OUTCOMES,
    PREDICTIONS,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
)
from millrace.contracts.wire.codec import EventReader
from millrace.infra.archive.history import TopicHistory
from millrace.infra.archive.objects import Record
from millrace.infra.object_store import ObjectStore
from millrace.infra.settings import Settings
from millrace.infra.topics.epochs import TopicEpochs
from millrace.registry.state import Registry
from millrace.replay.pipeline import BLOCK, Pipeline, Watch
from millrace.replay.plan import AS_SERVED, Part, Plan
from millrace.replay.records import PastRecord, past_records
from millrace.replay.versions import LoadedVersions, Named, Stamping, as_served

#: Records before a stretch that are read to know the windows that its first ones may repeat. Live,
#: the last 256 windows of each asset are known.
WARM_UP: Final = 65_536
#: How far the clocks of edges and services may differ.
_SKEW_MS: Final = DAY_MS
_ORIGIN: Final = "/millrace/replay"
_TOPICS: Final = (
    SENSOR_WINDOWS,
    PREDICTIONS,
    OUTCOMES,
    DRIFT_ALERTS,
    DEAD_LETTERS,
    MENDED,
    MODEL_EVENTS,
    SERVING_LEDGER,
)


class Past:
    """The past of a system; owned by one thread."""

    def __init__(self, settings: Settings, versions: LoadedVersions | None = None) -> None:
        """Read the registry and the ledger.

        Args:
            settings: Where Kafka and the object store are.
            versions: Versions that were loaded before; None for none.

        Raises:
            ServerError: Broker or store do not answer.
            DataError: An archived object cannot be read.
        """
        store = ObjectStore(settings)
        self._epochs = TopicEpochs(settings, _ORIGIN)
        opened = {topic: TopicHistory(settings, store, self._epochs, topic) for topic in _TOPICS}
        self._opened = opened.values()
        self.windows = opened[SENSOR_WINDOWS]
        self.predictions = opened[PREDICTIONS]
        self.letters = opened[DEAD_LETTERS]
        self._outcomes = opened[OUTCOMES]
        self._alerts = opened[DRIFT_ALERTS]
        self._resolutions = opened[MENDED]
        self.registry = Registry()
        events = EventReader[ModelEvent](ModelEvent)
        for record in opened[MODEL_EVENTS].all_records():
            if (event := events.valid(record.value)) is not None:
                self.registry.apply(event)
        entries = EventReader[LedgerEntry](LedgerEntry)
        found = (entries.valid(record.value) for record in opened[SERVING_LEDGER].all_records())
        self.ledger = [entry for entry in found if entry is not None]
        self.versions = LoadedVersions(store) if versions is None else versions

    def stamping(self, plan: Plan) -> Stamping:
        """The stamps of a replay."""
        if plan.model == AS_SERVED:
            return as_served(self.ledger, self.registry)
        return Named(plan.choices)

    def pipeline(
        self,
        plan: Plan,
        part: Part,
        substitutes: dict[int, int] | None = None,
        watch: Watch | None = None,
    ) -> Pipeline:
        """Build the pipeline of a partition.

        Args:
            plan: The replay.
            part: Its positions of the partition.
            substitutes: See `Pipeline`; may be filled as the replay goes on.
            watch: See `Pipeline`.
        """
        served = plan.model == AS_SERVED
        return Pipeline(
            part.partition,
            self.registry,
            self.stamping(plan),
            partial(self.versions.get, self.registry),
            models=[choice.model for choice in plan.choices],
            assets=plan.assets,
            refused_then=self.refused(part, plan) if served else {},
            resolved=self.resolved(part) if served else {},
            substitutes=substitutes,
            watch=watch,
        )

    def blocks(self, part: Part, most: int = BLOCK) -> Iterator[list[PastRecord]]:
        """Read the records of a partition's positions and `WARM_UP` before; see `Origin`."""
        waiting: list[PastRecord] = []
        for table in self.windows.tables(part.partition, self._begin(part), part.until):
            waiting += past_records(table)
            while len(waiting) >= most:
                yield waiting[:most]
                waiting = waiting[most:]
        if waiting:
            yield waiting

    def published(self, plan: Plan, part: Part) -> Iterator[Record]:
        """Read the records of `predictions` among which those of a partition's windows are."""
        span = self.predictions.span(part.partition, _earliest_ms(plan), None)
        return self.predictions.records(part.partition, span.first, span.until)

    def truths(self, plan: Plan, part: Part) -> dict[int, list[list[float | None]]]:
        """Read the truth of a partition's windows, by position: a row of targets for each step."""
        read = EventReader[Outcome](Outcome)
        span = self._outcomes.span(part.partition, _earliest_ms(plan), None)
        found = {}
        for record in self._outcomes.records(part.partition, span.first, span.until):
            outcome = read.valid(record.value)
            if outcome is not None and part.first <= outcome.source.offset < part.until:
                found[outcome.source.offset] = outcome.truth
        return found

    def alerts(self, plan: Plan, part: Part) -> Iterator[DriftAlert]:
        """Read the drift alerts about a partition's windows, each once."""
        read = EventReader[DriftAlert](DriftAlert)
        span = self._alerts.span(part.partition, _earliest_ms(plan), None)
        seen: set[str] = set()
        for record in self._alerts.records(part.partition, span.first, span.until):
            alert = read.valid(record.value)
            if alert is None or alert.source is None or alert.id in seen:
                continue
            if part.first <= alert.source.offset < part.until:
                seen.add(alert.id)
                yield alert

    def _begin(self, part: Part) -> int:
        incarnation, offset = parts_of(part.first)
        first = self.windows.bounds(part.partition).first
        return max(min(first, part.first), position_of(incarnation, max(0, offset - WARM_UP)))

    def refused(self, part: Part, plan: Plan) -> dict[int, InvalidRecord]:
        """Find the records of a partition that were refused when they were live."""
        span, begin = self.letters.span(part.partition, _earliest_ms(plan), None), self._begin(part)
        found = {}
        for record in self.letters.records(part.partition, span.first, span.until):
            said = header(record.headers, dead_letter.OFFSET) or ""
            if (
                header(record.headers, dead_letter.TOPIC) == SENSOR_WINDOWS.name
                and header(record.headers, dead_letter.PARTITION) == str(part.partition)
                and said.isdecimal()
                and begin <= int(said) < part.until
            ):
                found[int(said)] = InvalidRecord(
                    header(record.headers, dead_letter.REASON) or "unknown",
                    header(record.headers, dead_letter.DETAIL) or "",
                )
        return found

    def resolved(self, part: Part) -> dict[int, int]:
        """Find the accepted retries of a partition, by the position that was refused first."""
        read = EventReader[Resolution](Resolution)
        bounds = self._resolutions.bounds(part.partition)
        found: dict[int, int] = {}
        for record in self._resolutions.records(part.partition, bounds.first, bounds.end):
            note = read.valid(record.value)
            if note is not None:
                found.setdefault(note.first_offset, note.offset)
        return found

    def close(self) -> None:
        """Close the clients."""
        for history in self._opened:
            history.close()
        self._epochs.close()


def _earliest_ms(plan: Plan) -> int | None:
    """Smallest Kafka timestamp that an output of the replayed windows may have; None for any."""
    return None if plan.arrived_from is None else to_ms(plan.arrived_from) - _SKEW_MS
