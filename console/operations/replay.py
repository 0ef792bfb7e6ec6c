"""Replays: plans, runs and verifies them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from typing import Final

import msgspec

from millrace.contracts.clock import to_ms
from millrace.contracts.errors import SettingsError
from millrace.contracts.events.topic_epoch import parts_of
from millrace.infra.archive.gaps import Gap
from millrace.infra.settings import Settings
from millrace.replay.job import BATCH
from millrace.replay.past import Past
from millrace.replay.plan import AS_SERVED, Part, Plan, make_plan
from millrace.replay.sinks.opening import absolute, open_sink
from millrace.replay.sinks.sink import Tally, Written
from millrace.replay.verify import Comparison
from millrace.replay.versions import choose
from millrace.replay.worker import Compared, Progress
from millrace.replay.workers import run_workers
from millrace.verification.fences import fences_of

#: How long a dry run measures the speed of the pipeline, seconds.
_MEASURED_SECONDS: Final = 2.0
#: Value of `Plan.destination` of a comparison.
_NOWHERE: Final = "-"

Tell = Callable[[int, int], None]


class Request(msgspec.Struct, frozen=True):
    """What a user asks to replay.

    Attributes:
        arrived_from: Earliest Kafka timestamp; None for any.
        arrived_until: The time after the latest one; None for any.
        assets: Only these assets; empty for all.
        offsets: Positions by partition; empty for all partitions and positions.
        model: See `replay.versions.choose`.
    """

    arrived_from: datetime | None = None
    arrived_until: datetime | None = None
    assets: tuple[str, ...] = ()
    offsets: dict[int, tuple[int, int]] = {}
    model: str = AS_SERVED


class PartitionLine(msgspec.Struct, frozen=True):
    """What is planned for a partition.

    Attributes:
        partition: The partition.
        first: First position.
        until: Position after the last one.
        records: Number of records between them, at most.
        objects: Archived objects that are read.
        bytes: Their size.
        gaps: Positions between them that cannot be read, and why.
    """

    partition: int
    first: int
    until: int
    records: int
    objects: int
    bytes: int
    gaps: tuple[Gap, ...] = ()


class Planned(msgspec.Struct, frozen=True):
    """A plan, and what is known before it runs.

    Attributes:
        plan: The plan.
        partitions: Its partitions.
        versions: Versions that windows run on, as ``MODEL@VERSION``.
        windows_per_second: Measured speed of one process; None if it was not measured.
    """

    plan: Plan
    partitions: tuple[PartitionLine, ...]
    versions: tuple[str, ...]
    windows_per_second: float | None = None


class Replayed(msgspec.Struct, frozen=True):
    """Result of a replay.

    Attributes:
        id: Its id.
        where: Where the results are.
        tally: Numbers of records by result, of all lives of the replay.
        gaps: Positions by partition that could not be read, and why.
        seconds: Time that this life took.
    """

    id: str
    where: str
    tally: Tally
    gaps: dict[int, tuple[Gap, ...]]
    seconds: float


def plan_replay(
    settings: Settings, request: Request, destination: str | None, *, measures: bool = False
) -> Planned:
    """Plan a replay; nothing is written.

    Args:
        settings: Where Kafka and the object store are.
        request: What to replay.
        destination: A topic, a file, or a prefix of the object store; None for a comparison.
        measures: Whether to measure the speed, with the first records.

    Raises:
        DataError: An archived object cannot be read.
        ServerError: A server does not answer.
        SettingsError: The request names something that is not there.
    """
    where = _NOWHERE if destination is None else absolute(destination)
    with closing(Past(settings)) as past:
        lines = [_line(past, partition, request) for partition in _partitions(past, request)]
        lines = [line for line in lines if line.first < line.until]
        if not lines:
            raise SettingsError("no window arrived in that time; see `millrace archive ls`")
        choices = choose(request.model, past.registry)
        plan = make_plan(
            settings.namespace,
            [Part(line.partition, line.first, line.until, line.records) for line in lines],
            AS_SERVED if not choices else request.model,
            choices,
            where,
            arrived_from=request.arrived_from,
            arrived_until=request.arrived_until,
            assets=request.assets,
            offsets=request.offsets,
        )
        versions = [f"{choice.model}@{choice.version}" for choice in choices]
        return Planned(
            plan,
            tuple(lines),
            tuple(versions or _served(past, lines)),
            _speed(plan, past) if measures else None,
        )


def run_replay(
    settings: Settings,
    planned: Planned,
    tell: Tell,
    *,
    processes: int | None,
    idle: bool,
    batch: int = BATCH,
) -> Replayed:
    """Run a replay, or what is left of it.

    Args:
        settings: Where Kafka and the object store are.
        planned: The plan.
        tell: Receives the number of records that are done, and of all.
        processes: Most processes; None for one less than this machine's cores.
        idle: Whether to use only processor time that nothing else wants.
        batch: Records of a batch of results.

    Raises:
        DataError: A part has failed; the same command continues.
        ServerError: The destination does not answer.
        SettingsError: The destination is none.
    """
    plan = planned.plan
    began = time.monotonic()
    open_sink(settings, plan.destination, plan.id)  # before processes are started
    written: dict[int, Written] = {}
    for message in run_workers(
        plan, settings, "replay", processes=processes or _processes(), idle=idle, batch=batch
    ):
        if isinstance(message, Progress):
            written[message.partition] = message.written
            tell(sum(each.tally.records for each in written.values()), plan.records)
    where = open_sink(settings, plan.destination, plan.id).finish()
    tally = sum((each.tally for each in written.values()), Tally())
    gaps = {line.partition: line.gaps for line in planned.partitions if line.gaps}
    return Replayed(plan.id, where, tally, gaps, time.monotonic() - began)


def run_verification(
    settings: Settings, planned: Planned, tell: Tell, *, processes: int | None, idle: bool
) -> dict[int, Comparison]:
    """Compare a replay as served with what was published; see `run_replay`.

    Returns:
        The comparison of each partition.
    """
    found: dict[int, Comparison] = {}
    for message in run_workers(
        planned.plan, settings, "verify", processes=processes or _processes(), idle=idle
    ):
        if isinstance(message, Compared):
            found[message.partition] = message.comparison
            tell(sum(each.records for each in found.values()), planned.plan.records)
    return found


def _processes() -> int:
    return max(1, (os.cpu_count() or 1) - 1)


def _partitions(past: Past, request: Request) -> Sequence[int]:
    there = past.windows.partitions()
    unknown = sorted(request.offsets.keys() - set(there))
    if unknown:
        raise SettingsError(f"sensor.windows has partitions 0 to {there[-1]}, not {unknown[0]}")
    return sorted(request.offsets) or there


def _line(past: Past, partition: int, request: Request) -> PartitionLine:
    moments = (request.arrived_from, request.arrived_until)
    from_ms, until_ms = (None if each is None else to_ms(each) for each in moments)
    span = past.windows.span(partition, from_ms, until_ms)
    first, until, records = span.first, span.until, span.records
    if partition in request.offsets:
        wanted = request.offsets[partition]
        first, until = max(first, wanted[0]), min(until, wanted[1])
        if parts_of(first)[0] == parts_of(until)[0]:
            records = min(records, max(until - first, 0))
    # A stretch that begins with the first record there is may have had earlier ones.
    asked = 0 if first == span.earliest else first
    gaps = [gap for gap in past.windows.gaps(partition) if gap.first < until and gap.until > asked]
    return PartitionLine(partition, first, until, records, span.objects, span.bytes, tuple(gaps))


def _served(past: Past, lines: Iterable[PartitionLine]) -> list[str]:
    """Versions that the ledger names for positions."""
    found = set()
    for model in past.registry.models:
        fences = fences_of(past.ledger, model)
        for line in lines:
            entries = fences.get(line.partition, [])
            for entry, after in zip(entries, [*entries[1:], None], strict=False):
                ends_before = after is not None and after.first_offset <= line.first
                if not ends_before and entry.first_offset < line.until:
                    found.add((model, entry.version))
    return [f"{model}@{version}" for model, version in sorted(found)]


def _speed(plan: Plan, past: Past) -> float | None:
    """Measure windows per second of one process on the first records."""
    part = max(plan.parts, key=lambda each: each.records)
    pipeline = past.pipeline(plan, part)
    count, elapsed = 0, 0.0
    for records in past.blocks(part):
        began, loaded = time.monotonic(), len(past.versions)
        scored = pipeline.run(records, lambda _: True)
        if len(past.versions) == loaded:  # a block that loads a version does not count
            elapsed += time.monotonic() - began
            count += sum(len(run.windows) for run in scored.runs)
        if elapsed > _MEASURED_SECONDS:
            break
    return count / elapsed if count else None
