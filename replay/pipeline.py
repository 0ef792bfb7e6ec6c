"""Records of a partition to forecasts: the functions of the live services, in bulk. Pure.

    records ─► judge ─► seen before? ─► fences ─► stamped ─► predict ─► Scored

Live, a stream processor and an inference replica do the same with a topic between them. A window
that repeats an earlier one of its asset is passed over, as live: so records before the first one
that is wanted go through the pipeline as well, and are only remembered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from millrace.contracts.events.dead_letter import origin_of
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.inference.batch.predictions import Forecasts, misfits, predict
from millrace.inference.serving.batches import by_stamp
from millrace.inference.serving.servables import Servable
from millrace.registry.state import Registry
from millrace.replay.records import PastRecord
from millrace.replay.versions import Stamping
from millrace.stream_processors.state.recent_windows import RecentWindows, Repeat
from millrace.stream_processors.windows.retries import sent_again
from millrace.stream_processors.windows.stamping import stamped
from millrace.stream_processors.windows.validation import Block, changed, judge

#: Receives a block, the indices of its windows, and these as they were stamped.
Watch = Callable[[Block, Sequence[int], Sequence[NormalizedWindow]], None]
#: Records that are processed together: a multiple of the network's largest batch.
BLOCK: Final = 1024


@dataclass(frozen=True)
class Run:
    """Forecasts of a version for windows of one stamp.

    Attributes:
        servable: The version.
        windows: The windows, by position.
        said: Its forecasts for them.
    """

    servable: Servable
    windows: list[NormalizedWindow]
    said: Forecasts


@dataclass
class Scored:
    """Result of the wanted records: each is predicted, refused, repeated, or of another asset.

    Attributes:
        records: Number of wanted records.
        runs: Forecasts.
        refused: Why a record has no prediction, by position.
        repeated: Positions of windows that repeat an earlier one.
        others: Number of windows of assets or models that were not asked for.
    """

    records: int = 0
    runs: list[Run] = field(default_factory=list)
    refused: dict[int, InvalidRecord] = field(default_factory=dict)
    repeated: list[int] = field(default_factory=list)
    others: int = 0


class Pipeline:
    """The pipeline of one partition."""

    def __init__(
        self,
        partition: int,
        registry: Registry,
        stamping: Stamping,
        servable: Callable[[str, int], Servable],
        *,
        topic: str = SENSOR_WINDOWS.name,
        models: Collection[str] = (),
        assets: Collection[str] = (),
        refused_then: Mapping[int, InvalidRecord] | None = None,
        resolved: Mapping[int, int] | None = None,
        substitutes: Mapping[int, int] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Start without having seen a window.

        Args:
            partition: Partition of `sensor.windows`.
            registry: All models.
            stamping: The version that each window runs on.
            servable: Returns a version.
            topic: Where the records come from; a result's id is derived from it.
            models: Only windows of these models; empty for all.
            assets: Only windows of these assets; empty for all.
            refused_then: Records that were refused when they were live, by position, and that stay
                refused.
            resolved: Position of the accepted retry, by that of the record that was refused first;
                other retries of it are passed over.
            substitutes: Version, by position, that predicted a window in place of the stamped one,
                which could not be loaded.
            watch: Receives the stamped windows in place of the network, which then does not run.
        """
        self._partition = partition
        self._registry = registry
        self._stamping = stamping
        self._servable = servable
        self._topic = topic
        self._models = frozenset(models)
        self._assets = frozenset(assets)
        self._refused_then = refused_then or {}
        self._resolved = resolved or {}
        self._substitutes = substitutes or {}
        self._watch = watch
        self._recent: defaultdict[tuple[str, str], RecentWindows] = defaultdict(RecentWindows)

    def run(self, records: Sequence[PastRecord], is_wanted: Callable[[PastRecord], bool]) -> Scored:
        """Process the next records of the partition.

        Args:
            records: At most `BLOCK`, in order of their positions.
            is_wanted: Whether a record's result is wanted; the windows of others are remembered.

        Raises:
            DataError: A version is missing or altered.
            ServerError: The object store does not answer.
        """
        wanted = {record.offset for record in records if is_wanted(record)}
        result = Scored(len(wanted))
        if not records:
            return result
        arrived_ms = max(record.timestamp for record in records)
        judgement = judge(records, self._registry, arrived_ms)
        for row, problem in judgement.refused.items():
            if (position := records[row].offset) in wanted:
                result.refused[position] = self._refused_then.get(position, problem)
        passed = self._passed(records)
        windows: list[NormalizedWindow] = []
        for block in judgement.blocks:
            places = self._admit(block, records, wanted, passed, result)
            if not places:
                continue
            stamps = self._stamp(block, places, records, result)
            if self._watch is None:
                windows += stamps
            elif stamps:
                self._watch(block, places, stamps)
        for stamp, places in by_stamp(windows).items():
            self._predict(stamp.version, [windows[place] for place in places], result)
        return result

    def _passed(self, records: Sequence[PastRecord]) -> set[int]:
        """Positions of retries in whose place another retry was accepted."""
        passed = set()
        for row in sent_again(records) if self._resolved else ():
            at = records[row].offset
            with suppress(InvalidRecord):  # it was refused, with a dead letter
                origin = origin_of(records[row].headers, self._topic, self._partition, at)
                if self._resolved.get(origin.offset, at) != at:
                    passed.add(at)
        return passed

    def _admit(
        self,
        block: Block,
        records: Sequence[PastRecord],
        wanted: AbstractSet[int],
        passed: AbstractSet[int],
        result: Scored,
    ) -> list[int]:
        """Select the wanted windows of a block that repeat no earlier one; remember all."""
        model = block.model.spec.name
        places = []
        for place, (row, body, readings) in enumerate(
            zip(block.rows, block.bodies, block.checksums(), strict=True)
        ):
            position = records[row].offset
            is_wanted = position in wanted
            if (self._models and model not in self._models) or (
                self._assets and body.asset not in self._assets
            ):
                result.others += is_wanted
                continue
            repeat = Repeat.SAME if position in passed else None
            problem = self._refused_then.get(position)
            if problem is None and repeat is None:
                repeat = self._recent[model, body.asset].see(body.start_ms, body.segment, readings)
                problem = changed(body) if repeat is Repeat.CHANGED else None
            if not is_wanted:
                continue
            if problem is not None:
                result.refused[position] = problem
            elif repeat is Repeat.SAME:
                result.repeated.append(position)
            else:
                places.append(place)
        return places

    def _stamp(
        self, block: Block, places: Sequence[int], records: Sequence[PastRecord], result: Scored
    ) -> list[NormalizedWindow]:
        name = block.model.spec.name
        own = [records[block.rows[place]] for place in places]
        try:
            fences: list[LedgerEntry] = self._stamping.of(
                name, self._partition, [record.offset for record in own]
            )
        except LookupError as error:
            problem = InvalidRecord("not_served", f"{error}; name a version with --model")
            result.refused |= {record.offset: problem for record in own}
            return []
        sources = [
            Source(self._topic, self._partition, record.offset, record.timestamp) for record in own
        ]
        return stamped(block, places, fences, sources)

    def _predict(self, version: int, windows: list[NormalizedWindow], result: Scored) -> None:
        """Forecast windows of one stamp."""
        served: dict[int, list[NormalizedWindow]] = defaultdict(list)
        for window in windows:
            served[self._substitutes.get(window.source.offset, version)].append(window)
        model = windows[0].model
        for number, those in served.items():
            units: Normaliser | None = None
            if number != version:
                known = self._registry.models[model].versions[version]
                units = known.registered.normaliser
            self._forecast(self._servable(model, number), those, units, result)

    def _forecast(
        self,
        servable: Servable,
        windows: list[NormalizedWindow],
        units: Normaliser | None,
        result: Scored,
    ) -> None:
        problems = misfits(servable.spec, windows)
        for index, problem in problems.items():
            result.refused[windows[index].source.offset] = problem
        fit = [window for index, window in enumerate(windows) if index not in problems]
        if not fit:
            return
        said = predict(servable, fit, units)
        if not said.finite.all():
            why = f"version {servable.version} made no finite forecast of it"
            for index in np.flatnonzero(~said.finite).tolist():
                problem = InvalidRecord("forecast_not_finite", why)
                result.refused[fit[index].source.offset] = problem
            fit = [window for window, good in zip(fit, said.finite, strict=True) if good]
            rows = said.finite
            said = Forecasts(
                said.forecast[rows], said.last[rows], said.present[rows], said.finite[rows]
            )
        if fit:
            result.runs.append(Run(servable, fit, said))
