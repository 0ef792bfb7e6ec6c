"""A worker: the process of some partitions of a replay, and its messages.

    task (JSON, standard input) ─► Past, sink ─► messages (JSON lines, standard output)

Standard input is a pipe that the parent holds open: when it closes, however the parent ended, the
worker ends. So a replay whose command was killed does not go on beside the next one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Literal

import msgspec
from confluent_kafka import KafkaException

from millrace.contracts.errors import MillraceError
from millrace.infra.object_store import ObjectStore
from millrace.infra.process import fault_points
from millrace.infra.process.exit_status import FAILED
from millrace.infra.process.logs import configure_logs
from millrace.infra.process.parent import end_with_parent
from millrace.infra.settings import Settings
from millrace.replay.job import BATCH, replay_part
from millrace.replay.past import Past
from millrace.replay.plan import Plan
from millrace.replay.sinks.opening import open_sink
from millrace.replay.sinks.sink import Written
from millrace.replay.verify import Comparison, verify_part
from millrace.replay.versions import LoadedVersions


class Task(msgspec.Struct, frozen=True):
    """What a worker is to do.

    Attributes:
        plan: The replay.
        partitions: Its partitions.
        kind: Whether to replay, or to compare with what was published.
        idle: Whether to run only on processor time that nothing else wants.
        batch: Records of a batch of results.
    """

    plan: Plan
    partitions: tuple[int, ...]
    kind: Literal["replay", "verify"]
    idle: bool = True
    batch: int = BATCH


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far a partition is."""

    partition: int
    written: Written


class Compared(msgspec.Struct, frozen=True, tag=True):
    """How far the comparison of a partition is."""

    partition: int
    comparison: Comparison


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why the worker has ended."""

    why: str


Message = Progress | Compared | Failed


def messages_of(task: Task, settings: Settings) -> Iterator[Message]:
    """Do a task.

    Raises:
        MillraceError, KafkaException: See `replay_part` and `verify_part`.
    """
    versions = LoadedVersions(ObjectStore(settings))
    past = partial(Past, settings, versions)
    parts = {part.partition: part for part in task.plan.parts}
    for partition in task.partitions:
        part = parts[partition]
        if task.kind == "verify":
            with closing(past()) as opened:
                for comparison in verify_part(task.plan, part, opened):
                    yield Compared(partition, comparison)
        else:
            sink = partial(open_sink, settings, task.plan.destination, task.plan.id)
            for written in replay_part(task.plan, part, past, sink, batch=task.batch):
                yield Progress(partition, written)


def main() -> int:
    """Do the task on standard input; returns the exit status, with the reason in a message."""
    reader = sys.stdin.buffer
    task = msgspec.json.decode(reader.readline(), type=Task)
    end_with_parent(FAILED)
    if task.idle:
        run_idle()
    settings = Settings.read()
    configure_logs(settings)
    fault_points.arm(settings.fault, settings.fault_marks)
    try:
        for message in messages_of(task, settings):
            _say(message)
    except (MillraceError, KafkaException) as error:
        _say(Failed(str(error)))
        return FAILED
    return 0


def run_idle() -> None:
    """Run only on processor time that nothing else wants: live services share the machine."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def _say(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()
