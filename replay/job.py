"""Replays a partition: from where its results end, batch by batch.

    position after the last result ─► records before it, remembered only ─► records ─► sink

After a crash at any point the next life continues after the last stored batch. The records before
that are read once more, since the pipeline has to know the windows that later ones may repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import structlog
from confluent_kafka import KafkaException

from millrace.contracts.errors import ServerError
from millrace.infra.kafka.errors import error_of, is_transient
from millrace.infra.process import fault_points
from millrace.replay.origin import Origin
from millrace.replay.pipeline import BLOCK, Run, Scored
from millrace.replay.plan import Part, Plan
from millrace.replay.records import wanted_from
from millrace.replay.sinks.sink import Batch, Sink, Tally, Written

#: Records of a batch of results: one transaction, one file, or one object.
BATCH: Final = 16_384
#: How long an outage of a server may last before the replay ends, seconds.
PATIENCE_SECONDS: Final = 120.0
_PAUSE_SECONDS: Final = 0.5
_log = structlog.get_logger(__name__)


def replay_part(
    plan: Plan,
    part: Part,
    origin: Callable[[], Origin],
    sink: Callable[[], Sink],
    *,
    batch: int = BATCH,
) -> Iterator[Written]:
    """Replay a partition; waits for servers that do not answer.

    Args:
        plan: The replay.
        part: The partition and its positions.
        origin: Opens what the replay reads.
        sink: Opens the destination.
        batch: Records of a batch.

    Yields:
        The progress: at first, after every batch, and at the end.

    Raises:
        DataError: An archived object, a version or the destination is not what it should be.
        ServerError: A server has not answered for `PATIENCE_SECONDS`.
    """
    last, told = time.monotonic(), ""
    while True:
        try:
            with closing(origin()) as opened:
                for written in _from_last_result(plan, part, opened, sink(), batch):
                    last = time.monotonic()
                    yield written
        except (ServerError, KafkaException) as error:
            fatal = isinstance(error, KafkaException) and not is_transient(error_of(error))
            if fatal or time.monotonic() - last > PATIENCE_SECONDS:
                raise
            if str(error) != told:
                told = str(error)
                _log.warning("waiting", partition=part.partition, why=told)
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _from_last_result(
    plan: Plan, part: Part, origin: Origin, sink: Sink, batch: int
) -> Iterator[Written]:
    written = sink.written(part.partition)
    yield written
    begin = part.first if written.until is None else written.until
    if begin >= part.until:
        return
    tally, runs, first = written.tally, list[Run](), begin
    waiting = 0
    pipeline = origin.pipeline(plan, part)
    is_wanted = wanted_from(plan, begin)
    for records in origin.blocks(part, min(batch, BLOCK)):
        scored = pipeline.run(records, is_wanted)
        runs += scored.runs
        tally += tally_of(scored)
        waiting += scored.records
        if waiting >= batch:
            until = records[-1].offset + 1
            yield _write(sink, Batch(part.partition, first, until, runs, tally))
            runs, first, waiting = [], until, 0
    if first < part.until:
        yield _write(sink, Batch(part.partition, first, part.until, runs, tally))


def _write(sink: Sink, batch: Batch) -> Written:
    fault_points.reached("replay.before-output")
    sink.write(batch)
    fault_points.reached("replay.after-output")
    return Written(batch.until, batch.tally)


def tally_of(scored: Scored) -> Tally:
    """Count the results of records."""
    reasons: dict[str, int] = {}
    examples: dict[str, str] = {}
    for position, problem in sorted(scored.refused.items()):
        reasons[problem.reason] = reasons.get(problem.reason, 0) + 1
        examples.setdefault(problem.reason, f"position {position}: {problem.detail}")
    return Tally(
        scored.records,
        sum(len(run.windows) for run in scored.runs),
        len(scored.repeated),
        scored.others,
        reasons,
        examples,
    )
