"""Processes one batch, from records to outputs; one file, since its steps share one memory.

For a batch of windows, in order: write the fences that are due; validate the records; skip those
that were processed before; stamp and normalise the rest; write them; feed the detectors and the
join. A batch may be acknowledged after the next `checkpoint`, which confirms all outputs first, and
then the memory that includes them.

After a crash some work is repeated. It has no second effect:

- *Normalised windows and dead letters* carry their source offset. When a partition is assigned, the
  last source offsets in the outputs show which records were written; these are not written again.
- The *whole value* of a truncated dead letter is stored in the object store before the letter is
  written, under a key derived from its origin: storing it again writes the same object.
- A record that was *refused* stays refused, even if it would be valid by now: an operator may have
  retried it.
- Of *retries*, the records in `dead.letters.mended` say which one was accepted (`retries`).
- The *memory* of an asset stores the offsets that it includes, and skips those records. A
  prediction is processed after its window, as it was before the crash (`early_predictions`).
- *Outcomes and alerts* may be written again, with the same ids.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

import structlog

from millrace.contracts.clock import now
from millrace.contracts.events.ledger import LedgerEntry
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.source import Source
from millrace.contracts.topics import (
    DEAD_LETTERS,
    MENDED,
    NORMALIZED,
    SENSOR_WINDOWS,
    SERVING_LEDGER,
)
from millrace.contracts.wire.codec import EventReader, encode, headers_of
from millrace.infra.kafka.model_feed import ModelFeed
from millrace.infra.process import fault_points
from millrace.infra.progress.balance import Balance
from millrace.stream_processors.codec.packing import DerivedHeaders, in_msgpack
from millrace.stream_processors.metrics import DUPLICATES, FENCES, WINDOWS
from millrace.stream_processors.monitoring import ORIGIN, DriftMonitor
from millrace.stream_processors.outcomes.early_predictions import is_ahead
from millrace.stream_processors.recovery.history import History
from millrace.stream_processors.recovery.positions import Position, Positions
from millrace.stream_processors.state.asset import Asset
from millrace.stream_processors.state.recent_windows import Repeat
from millrace.stream_processors.state.snapshots import Changelog, Snapshots
from millrace.stream_processors.transport.outputs import Outputs
from millrace.stream_processors.transport.records import Record
from millrace.stream_processors.windows.batch_result import BatchResult, Made
from millrace.stream_processors.windows.letters import Letters
from millrace.stream_processors.windows.retries import note_of, sent_again
from millrace.stream_processors.windows.slices import Batch, PartitionSlice, batches
from millrace.stream_processors.windows.stamping import stamped
from millrace.stream_processors.windows.stamps import Stamps
from millrace.stream_processors.windows.validation import Block, Judgement, changed, judge

_log = structlog.get_logger(__name__)
#: Records that are processed together: as many as stay in the CPU cache until they are written.
#: Measured on windows of 768 bytes: a fifth less time than 4,000 at once.
BLOCK_RECORDS: Final = 1000

#: Where a partition's records are in a batch, and the partition's progress.
_Own = tuple[PartitionSlice, Position]


class Processor:
    """Processes batches; owned by the event loop, one batch at a time."""

    def __init__(
        self,
        feed: ModelFeed,
        history: History,
        outputs: Outputs,
        snapshots: Snapshots,
        watch: DriftMonitor | None,
        letters: Letters,
    ) -> None:
        """Store the collaborators, and read the fences from the ledger.

        Args:
            feed: The models.
            history: Outputs and ledger of earlier processes.
            outputs: Writes all output records.
            snapshots: Memory of the assets.
            watch: Detectors and the join; None without monitoring.
            letters: Writes dead letters.
        """
        self._feed = feed
        self._history = history
        self._positions = Positions(history)
        self._outputs = outputs
        self._snapshots = snapshots
        self._watch = watch
        self._letters = letters
        self._stamps = Stamps()
        self._balance = Balance(SENSOR_WINDOWS.name, ("normalised", "refused", "repeated"))
        self._owned: set[int] = set()
        self._read_prediction = EventReader[Prediction](Prediction)
        self._turn = asyncio.Lock()
        self._learn_fences()

    async def windows(self, found: Mapping[int, Sequence[Record]]) -> None:
        """Process records of `sensor.windows`; on return their outputs are queued, but unconfirmed.

        Args:
            found: Records by partition, in offset order; at least one.
        """
        async with self._turn:
            self._feed.poll(0)
            for partition, records in found.items():
                self._balance.read(partition, len(records))
            for batch in batches(found, BLOCK_RECORDS):
                await self._take(batch)
            await self._outputs.send()

    async def _take(self, batch: Batch) -> None:
        """Process a batch."""
        records = batch.records
        own = [(part, self._positions.of(part.partition)) for part in batch.parts]
        for part, position in own:
            position.next = max(position.next, records[part.rows.start].offset)
        nexts = {part.partition: position.next for part, position in own}
        await self._fence(nexts)
        judgement = self._judge(records)
        if judgement.misses_a_model and self._feed.catch_up():
            await self._fence(nexts)
            judgement = self._judge(records)
        found = BatchResult(dict(judgement.refused))
        before = sent_again(records)
        if before:
            await self._outputs.confirmed()  # letters of earlier batches are read next
        for part, position in own:
            final = await position.refused_before(records, part.rows)
            rows = before[part.of(before)]
            invalid = {*judgement.refused, *final}
            again = await position.resolve(records, part.rows, rows, invalid)
            DUPLICATES.inc(len(again.passed))
            silent = again.passed | final.difference(judgement.refused, again.refused)
            self._balance.settle(part.partition, "repeated", len(silent))
            found.add(final, again)
        fault_points.reached("stream-processor.before-output")
        for block in judgement.blocks:
            found.made += self._block(block, batch, own, found)
        for part, position in own:
            for row in filter(part.rows.__contains__, sorted(found.changed)):
                position.refuse(records[row].offset, found.taken.pop(row, None))
        if len(judgement.blocks) > 1:
            found.made.sort(key=itemgetter(0))
        made_rows = [row for row, _ in found.made]
        for part, position in own:
            made = [record for _, record in found.made[part.of(made_rows)]]
            self._outputs.write_all(NORMALIZED, in_msgpack(made), part.partition)
            self._balance.settle(part.partition, "normalised", len(made))
            await self._write_refused(part, position, records, found)
            position.taken = records[part.rows[-1]].offset + 1
            position.next = max(position.next, position.taken)

    async def _write_refused(
        self,
        part: PartitionSlice,
        position: Position,
        records: Sequence[Record],
        found: BatchResult,
    ) -> None:
        """Write a partition's dead letters, and the resolutions of its accepted retries."""
        partition = part.partition
        for row in filter(part.rows.__contains__, sorted(found.refused)):
            if position.is_written(DEAD_LETTERS, records[row].offset):
                self._balance.settle(partition, "repeated", 1)
            else:
                await self._letters.write(partition, records[row], found.refused[row])
                self._balance.settle(partition, "refused", 1)
        for row in filter(part.rows.__contains__, sorted(found.taken)):
            note = note_of(partition, records[row], found.taken[row], now())
            self._outputs.write(
                MENDED, note.key, encode(note), headers_of(note, ORIGIN, note.at), partition
            )

    async def predictions(self, partition: int, records: Sequence[Record], readable: range) -> int:
        """Process `predictions` up to the first whose window has not been processed yet.

        Args:
            partition: Their partition.
            records: A batch, or its unprocessed rest.
            readable: Offsets of the partition's windows that were or will be read, see `is_ahead`.

        Returns:
            Number of processed records; their outputs are queued.
        """
        async with self._turn:
            self._feed.poll(0)
            taken = self._positions.of(partition).taken
            count = 0
            for record in records:
                if not self._prediction(partition, record, taken, readable):
                    break
                count += 1
            await self._outputs.send()
        return count

    async def fence_idle_partitions(self) -> None:
        """Write the fences that are due in partitions without new windows."""
        async with self._turn:
            self._feed.poll(0)
            known = sorted(self._owned | self._positions.known)
            await self._fence({p: self._positions.of(p).next for p in known})

    async def checkpoint(self, changelog: Changelog) -> float:
        """Confirm all outputs, and then the memory that includes them.

        Memory is encoded between two batches, and written once the outputs up to that point are
        confirmed; processing continues meanwhile.

        Args:
            changelog: Writes memory through the same outputs.

        Returns:
            Seconds that encoding the memory blocked the processing of batches.
        """
        async with self._turn:
            began = time.monotonic()
            taken = self._snapshots.take()
            written = self._outputs.written()
            busy = time.monotonic() - began
        await self._outputs.confirmed(written)
        fault_points.reached("stream-processor.between-output-and-state")
        began = time.monotonic()
        self._snapshots.write(taken, changelog)
        busy += time.monotonic() - began
        await self._outputs.confirmed()
        return busy

    def release(self) -> None:
        """Write no fences until partitions are assigned again."""
        self._owned = set()
        self._positions.forget()

    def own(self, partitions: set[int]) -> None:
        """Take over partitions, and drop the state of all others, which have other owners.

        Args:
            partitions: All partitions of `sensor.windows` that are now assigned to this process.
        """
        self._owned = partitions
        self._positions.forget()
        self._snapshots.forget()
        self._learn_fences()

    def _learn_fences(self) -> None:
        """Read the fences of epochs that the registry knows; others are not used for stamping.

        If the registry does not know a fence's epoch yet, it first reads its log to the end. A
        fence that is still unknown then belongs to an activation that is refused now, or was
        written by another program; there are no units to stamp its windows with.
        """
        registry = self._feed.registry
        for entry in self._history.fences():
            is_known = registry.has_served(entry.model, entry.version, entry.epoch) or (
                bool(self._feed.catch_up())
                and registry.has_served(entry.model, entry.version, entry.epoch)
            )
            if is_known:
                self._stamps.learn(entry)
            else:
                _log.warning(
                    "fence ignored",
                    model=entry.model,
                    version=entry.version,
                    epoch=entry.epoch,
                    partition=entry.partition,
                    why="the registry knows no such serving epoch",
                )

    async def _fence(self, nexts: Mapping[int, int]) -> None:
        """Write and confirm the ledger entries that the next windows need.

        Args:
            nexts: Offset of the next window by partition.
        """
        models = self._feed.registry.models.values()
        entries = [
            entry
            for partition, offset in nexts.items()
            for entry in self._stamps.due(models, partition, offset, now())
        ]
        for entry in entries:
            self._outputs.write(
                SERVING_LEDGER, entry.key, encode(entry), headers_of(entry, ORIGIN, now())
            )
        if entries:
            await self._outputs.confirmed()
        for entry in entries:
            self._stamps.learn(entry)
            FENCES.inc()
            _log.info(
                "stamped from here",
                model=entry.model,
                version=entry.version,
                epoch=entry.epoch,
                partition=entry.partition,
                offset=entry.first_offset,
            )

    def _judge(self, records: Sequence[Record]) -> Judgement:
        return judge(records, self._feed.registry, round(time.time() * 1000))

    def _block(
        self,
        block: Block,
        batch: Batch,
        own: Sequence[_Own],
        found: BatchResult,
    ) -> list[tuple[int, Made]]:
        """Process the new windows of a block; adds those with changed readings to ``found``.

        Returns:
            The normalised windows that are not written yet, with their rows, ascending.
        """
        places, assets = self._admit(block, batch, found)
        if not places:
            return []
        name = block.model.spec.name
        rows = [block.rows[place] for place in places]
        records = [batch.records[row] for row in rows]
        sources: list[Source] = []
        fences: list[LedgerEntry] = []
        unwritten: list[int] = []
        for part, position in own:
            partition, here = part.partition, part.of(rows)
            offsets = [record.offset for record in records[here]]
            if offsets:
                sources += [
                    Source(SENSOR_WINDOWS.name, partition, record.offset, record.timestamp)
                    for record in records[here]
                ]
                fences += self._stamps.of(name, partition, offsets)
                written = bisect_right(offsets, position.written_through(NORMALIZED))
                unwritten += range(here.start + written, here.stop)
                self._balance.settle(partition, "repeated", written)
        windows = stamped(block, places, fences, sources)
        headers = DerivedHeaders(
            NormalizedWindow.TYPE, ORIGIN, NormalizedWindow.CONTENT_TYPE, now()
        ).packed(
            [windows[index].window_id for index in unwritten],
            [sources[index].offset for index in unwritten],
        )
        made: list[tuple[int, Made]] = [
            (rows[index], (records[index].key, windows[index], its))
            for index, its in zip(unwritten, headers, strict=True)
        ]
        WINDOWS.labels(name).inc(len(windows))
        if self._watch is not None:
            self._watch.windows(block, places, assets, windows)
        return made

    def _admit(
        self, block: Block, batch: Batch, found: BatchResult
    ) -> tuple[list[int], list[Asset]]:
        """Select the new windows of a block and add them to their assets' memory.

        Returns:
            Their indices in the block, and the memory of their assets.
        """
        name, rows, passed = block.model.spec.name, block.rows, found.passed
        places: list[int] = []
        assets: list[Asset] = []
        checksums = block.checksums()
        for part in batch.parts:
            memory: dict[str, Asset] = {}
            repeated = 0
            here = part.of(rows)
            for place, row, body, readings in zip(
                range(here.start, here.stop),
                rows[here],
                block.bodies[here],
                checksums[here],
                strict=True,
            ):
                if row in passed:
                    continue
                asset = memory.get(body.asset)
                if asset is None:
                    asset = self._snapshots.asset(name, body.asset, part.partition)
                    memory[body.asset] = asset
                offset = batch.records[row].offset
                if offset <= asset.windows_through:
                    repeated += 1
                    continue
                repeat = asset.recent.see(body.start_ms, body.segment, readings)
                if repeat is None:
                    asset.windows_through = offset
                    places.append(place)
                    assets.append(asset)
                elif repeat is Repeat.SAME:
                    DUPLICATES.inc()
                    repeated += 1
                else:
                    found.refused[row] = changed(body)
                    found.changed.add(row)
            self._balance.settle(part.partition, "repeated", repeated)
        return places, assets

    def _prediction(self, partition: int, record: Record, taken: int, readable: range) -> bool:
        """Process one record of `predictions`, unless it must be deferred."""
        try:
            prediction = self._read_prediction(record.value or b"")
        except InvalidRecord as problem:
            _log.warning("prediction passed over", offset=record.offset, why=str(problem))
            return True
        asset = self._snapshots.asset(prediction.model, prediction.asset, partition)
        if record.offset <= asset.predictions_through:
            return True
        if is_ahead(prediction.source.offset, asset.windows_through, taken, readable):
            return False
        asset.predictions_through = record.offset
        if self._watch is not None:
            self._watch.prediction(asset, prediction)
        return True
